"use strict";
// Without this script everything on the page can be read. It adds: tables that sort, buttons that
// copy, a line under each chart that says the value under the pointer or the arrow keys.
(() => {
  const make = (tag, kind, said) => {
    const made = document.createElement(tag);
    made.className = kind;
    made.textContent = said;
    return made;
  };
  const news = make("p", "unseen", "");
  news.setAttribute("role", "status");
  document.querySelector("main").append(news);

  // Tables. Numbers sort by value, what is missing comes last, equal rows keep their order.
  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
  const keyOf = (cell, numeric) => {
    const said = cell.dataset.v ?? cell.textContent.trim();
    const key = numeric ? parseFloat(said) : said;
    return said === "" || said === "-" || Number.isNaN(key) ? null : key;
  };
  const sort = (head, body, rows, column) => {
    const numeric = head.classList.contains("n");
    const cycle = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
    const next = cycle[cycle.indexOf(head.getAttribute("aria-sort")) + 1];
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    const keys = new Map(rows.map((row) => [row, keyOf(row.cells[column], numeric)]));
    const sign = next === "descending" ? -1 : 1;
    const sorted = next ? [...rows].sort((one, two) => {
      const [a, b] = [keys.get(one), keys.get(two)];
      return a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b);
    }) : rows;
    if (next) head.setAttribute("aria-sort", next);
    body.append(...sorted);
    const name = head.textContent;
    news.textContent = next ? `sorted by ${name}, ${next}` : "in the order of the page";
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0], rows = [...body.rows];
    if (rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(head, body, rows, column));
      head.replaceChildren(button);
    });
  }
  const scrolls = () => document.querySelectorAll(".scroll").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  scrolls();
  addEventListener("resize", scrolls);
  document.addEventListener("toggle", scrolls, true);

  // Copying: by the clipboard, where that is refused by selecting, where that is too by hand. What a
  // browser makes of a selection is not the text (it drops the last line end), so it is told.
  const copied = async (held) => {
    try {
      await navigator.clipboard.writeText(held.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(held);
      const fill = (event) => {
        event.clipboardData.setData("text/plain", held.textContent);
        event.preventDefault();
      };
      document.addEventListener("copy", fill);
      try {
        return document.execCommand("copy");
      } finally {
        document.removeEventListener("copy", fill);
      }
    }
  };
  for (const box of document.querySelectorAll(".copyable")) {
    const button = make("button", "", "Copy"), held = box.querySelector("code");
    button.type = "button";
    button.setAttribute("aria-label", `Copy ${box.dataset.label}`);
    button.addEventListener("click", async () => {
      const done = await copied(held);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      news.textContent = done ? `copied ${box.dataset.label}` : "selected: press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    box.append(button);
    box.classList.add("live");
  }

  // Charts. A stop is a place with a value: the columns of a chart, or the cells of a heat map.
  const rectangle = (svg) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    made.setAttribute("class", "cell");
    svg.append(made);
    return made;
  };
  const columnsOf = (svg) => {
    const hits = [...svg.querySelectorAll(".hit")];
    const said = hits.map((one) => one.querySelector("title").textContent);
    hits.forEach((one) => one.querySelector("title").remove()); // no second label beside the line
    return {
      count: hits.length, said: (at) => said[at], line: 1,
      show: (at) => hits.forEach((one, number) => one.classList.toggle("at", number === at)),
      find: (event) => hits.indexOf(event.target),
    };
  };
  const cellsOf = (svg) => {
    const rows = svg.dataset.values.split(";").map((row) => row.split(","));
    const [left, top, size] = svg.dataset.box.split(" ").map(Number);
    const line = rows.length, cell = size / line, mark = rectangle(svg);
    const place = (value, from) => Math.floor((value - from) / cell);
    return {
      count: line * line, line,
      said: (at) => {
        const [row, column] = [Math.floor(at / line), at % line];
        return `block ${row} and block ${column}: ${rows[row][column] === "" ? "undefined" : Number(rows[row][column])}`;
      },
      show: (at) => {
        const box = at < 0 ? [0, 0, 0] : [left + (at % line) * cell, top + Math.floor(at / line) * cell, cell];
        ["x", "y", "width", "height"].forEach((name, n) => mark.setAttribute(name, box[Math.min(n, 2)]));
      },
      find: (event) => {
        const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
        const [row, column] = [place(point.y, top), place(point.x, left)];
        return row >= 0 && row < line && column >= 0 && column < line ? row * line + column : -1;
      },
    };
  };
  const HINT = "Point, tap or press arrow keys to read values";
  for (const svg of document.querySelectorAll("svg.chart")) {
    const stops = svg.dataset.values ? cellsOf(svg) : columnsOf(svg);
    if (!stops.count) continue;
    const line = make("div", "readout", HINT);
    let now = -1;
    const go = (to) => {
      now = to < 0 ? -1 : Math.min(to, stops.count - 1);
      stops.show(now);
      line.textContent = now < 0 ? HINT : stops.said(now);
      line.classList.toggle("live", now >= 0);
      line.setAttribute("aria-valuenow", Math.max(now, 0));
      line.setAttribute("aria-valuetext", line.textContent);
    };
    line.tabIndex = 0;
    line.setAttribute("role", "slider");
    line.setAttribute("aria-label", `Values of ${svg.getAttribute("aria-label")}`);
    line.setAttribute("aria-valuemin", 0);
    line.setAttribute("aria-valuemax", stops.count - 1);
    go(-1);
    svg.after(line);
    const steps = {
      ArrowRight: () => now + 1, ArrowLeft: () => Math.max(now - 1, 0),
      ArrowDown: () => (now < 0 ? 0 : now + stops.line < stops.count ? now + stops.line : now),
      ArrowUp: () => (now >= stops.line ? now - stops.line : Math.max(now, 0)),
      Home: () => 0, End: () => stops.count - 1, Escape: () => -1,
    };
    line.addEventListener("keydown", (event) => {
      if (!steps[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      go(steps[event.key]());
    });
    const point = (event) => {
      const at = stops.find(event);
      if (at >= 0 && at !== now) go(at);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
  }

  // A printed page cannot be unfolded.
  const folded = new Set();
  addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((one) => {
    folded.add(one);
    one.open = true;
  }));
  addEventListener("afterprint", () => {
    folded.forEach((one) => { one.open = false; });
    folded.clear();
  });
})();

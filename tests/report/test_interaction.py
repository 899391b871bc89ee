"""What the script of a page adds: sorting, values by pointer and keys, copying; and print."""

import json

import numpy as np
import pytest

from cruxlm.charts.heatmap import heatmap
from cruxlm.charts.intervals import interval_chart
from cruxlm.report.copyable import copyable
from cruxlm.report.page import page, section
from cruxlm.report.table import Cell, number, table
from report.pages import PAGES

pytestmark = pytest.mark.browser

ROWS = [
    ("run 2", Cell("222k", 222_000), Cell("0.5 ± 0.1", 0.5), "a"),
    ("run 10", Cell("1.3M", 1_300_000), Cell("-", None), "b"),
    ("run 1", Cell("900", 900), Cell("-0.25 ± 0.01", -0.25), "a"),
    ("Run 3", Cell("222k", 222_400), Cell("", None), "<b>"),
    ("run 4", Cell("-", None), number(1e-5), "a"),
]
NAMES = """[...document.querySelectorAll("tbody tr")].map(row => row.cells[0].textContent)"""
SORTED = """[...document.querySelectorAll("thead th")].map(head => head.ariaSort)"""


def one(content):
    return page("title", "sub", "lead", [section("Card", "", content)])


@pytest.fixture
def sortable(opened):
    return opened(one(table(("run", "size", "score", "kind"), ROWS, numeric=(1, 2))))


def click(page, column):
    page.evaluate(f"document.querySelectorAll('th button')[{column}].click()")
    return page.evaluate(NAMES)


def names(order):
    return [ROWS[place][0] for place in order]


def test_numbers_sort_by_value_and_what_is_missing_comes_last(sortable):
    assert click(sortable, 1) == names([1, 3, 0, 2, 4])  # 222.4k before 222k: both say 222k
    assert sortable.evaluate(SORTED) == [None, "descending", None, None]
    assert click(sortable, 1) == names([2, 0, 3, 1, 4])
    assert click(sortable, 1) == names(range(5))  # and as it was
    assert sortable.evaluate(SORTED) == [None] * 4
    assert click(sortable, 2) == names([0, 4, 2, 1, 3])
    assert click(sortable, 2) == names([2, 4, 0, 1, 3])


def test_texts_sort_as_people_count_and_equal_rows_keep_their_order(sortable):
    assert click(sortable, 0) == names([2, 0, 3, 4, 1])
    assert sortable.evaluate(SORTED) == ["ascending", None, None, None]
    click(sortable, 0)
    assert click(sortable, 3)[1:4] == names([0, 2, 4])  # <b>, then a, a, a in the page's order
    assert sortable.evaluate("document.querySelector('[role=status]').textContent") == (
        "sorted by kind, ascending"
    )


def test_a_table_sorts_by_keyboard(sortable):
    sortable.press("Tab")
    assert sortable.evaluate("document.activeElement.textContent") == "run"
    sortable.press("Tab", "Enter")
    assert sortable.evaluate(SORTED)[1] == "descending"
    sortable.press(" ")
    assert sortable.evaluate(SORTED)[1] == "ascending"
    assert sortable.evaluate("document.activeElement.textContent") == "size"


def test_any_numbers_sort_as_python_sorts_them(opened):
    draw = np.random.default_rng(0)
    values = [float(v) for v in draw.normal(size=40) * 10.0 ** draw.integers(-9, 9, 40)]
    rows = [(n, number(value, 3)) for n, value in enumerate(values)]
    page = opened(one(table(("n", "value"), rows, numeric=(0, 1))))
    found = [int(name) for name in click(page, 1)]
    assert found == sorted(range(40), key=lambda n: -values[n])


READOUT = "document.querySelector('.readout').textContent"


@pytest.fixture
def charted(opened):
    rows = [("<b>one</b>", 0.5, (0.4, 0.6)), ("two", -0.25, None), ("three", 0.0, None)]
    return opened(one(interval_chart(rows, label="differences", across="nats")))


def test_a_chart_is_read_by_keyboard(charted):
    assert charted.evaluate(READOUT).startswith("Point, tap or press")
    charted.press("Tab")
    held = charted.evaluate("""(() => { const line = document.activeElement;
      return [line.getAttribute("role"), line.getAttribute("aria-label")]; })()""")
    assert held == ["slider", "Values of differences"]
    first = "<b>one</b>: +0.5 (+0.4 to +0.6)"
    for key, said in [
        ("ArrowRight", first), ("ArrowDown", "two: -0.25"), ("End", "three: +0"),
        ("ArrowRight", "three: +0"), ("ArrowUp", "two: -0.25"), ("Home", first),
        ("ArrowLeft", first),
    ]:  # fmt: skip
        charted.press(key)
        assert charted.evaluate(READOUT) == said
        assert charted.evaluate("document.activeElement.getAttribute('aria-valuetext')") == said
        assert charted.evaluate("document.querySelectorAll('.hit.at').length") == 1
    charted.press("Escape")
    assert charted.evaluate(READOUT).startswith("Point")
    assert charted.evaluate("document.querySelectorAll('.hit.at').length") == 0


def test_a_chart_is_read_by_pointer(charted):
    box = charted.evaluate("""(() => { const b = document.querySelectorAll(".hit")[1]
      .getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()""")
    charted.move(*box)
    assert charted.evaluate(READOUT) == "two: -0.25"
    assert (
        charted.evaluate("document.querySelector('.readout').getBoundingClientRect().height") > 20
    )


def test_every_cell_of_a_heat_map_is_read(opened):
    matrix = np.random.default_rng(0).uniform(-1, 1, (5, 5)).round(3)
    matrix[3, 1] = np.nan
    page = opened(one(heatmap(matrix, label="similarity")), width=500)
    box = page.evaluate("""(() => { const svg = document.querySelector("svg"), b = svg
      .getBoundingClientRect(); return [b.x, b.y, b.width / svg.viewBox.baseVal.width]; })()""")
    left, top, size = map(float, page.evaluate("document.querySelector('svg').dataset.box").split())
    cell = size / 5
    for row, column in [(0, 0), (4, 4), (2, 3), (3, 1)]:
        page.move(box[0] + box[2] * (left + (column + 0.9) * cell),
                  box[1] + box[2] * (top + (row + 0.1) * cell))  # fmt: skip
        value = matrix[row, column]
        shown = "undefined" if np.isnan(value) else f"{value:g}"
        assert page.evaluate(READOUT) == f"block {row} and block {column}: {shown}"
    page.press("Tab", "Home", "ArrowDown", "ArrowDown", "ArrowRight")
    assert page.evaluate(READOUT) == f"block 2 and block 1: {matrix[2, 1]:g}"
    page.press("ArrowUp")
    assert page.evaluate(READOUT) == f"block 1 and block 1: {matrix[1, 1]:g}"


FILE = "a: \"b\"\n  - 'c' <d> & e\n\n# </script> ü \\x1b 完\n"


@pytest.mark.parametrize("allowed", [True, False], ids=["clipboard", "no clipboard"])
def test_what_is_copied_is_the_text_and_nothing_else(opened, allowed):
    page = opened(one(copyable("another", "the command") + copyable(FILE, "the file")))
    page.allow(*["clipboardSanitizedWrite"] if allowed else [])
    # Only one of the two ways is open.
    shut = "navigator.clipboard.writeText = () => Promise.reject(new Error('no'))"
    page.evaluate("document.execCommand = () => false" if allowed else shut)
    assert page.evaluate("[...document.querySelectorAll('button')].map(b => b.ariaLabel)") == [
        "Copy the command", "Copy the file",
    ]  # fmt: skip
    page.press("Tab", "Tab", "Enter")
    page.evaluate("new Promise(done => setTimeout(done, 200))")
    assert page.evaluate("document.activeElement.textContent") == "Copied"
    page.allow("clipboardReadWrite")
    assert page.evaluate("navigator.clipboard.readText()") == FILE


@pytest.mark.parametrize("kind", PAGES)
def test_without_script_everything_can_be_read(kind, opened):
    html = PAGES[kind]()
    page, plain = opened(html), opened(html, script=False)
    assert plain.evaluate("document.querySelectorAll('button, .readout').length") == 0
    texts = """[...document.querySelectorAll("h1, h2, h3, p, li, td, code, dd")]
      .filter(one => !one.matches("[role=status]")).map(one => one.textContent)"""
    assert plain.evaluate(texts) == page.evaluate(texts)
    # A value that the script shows is a title of the chart without it.
    said = "document.querySelectorAll('.hit').length"
    assert (
        plain.evaluate("document.querySelectorAll('.hit title').length") == page.evaluate(said) > 0
    )


def test_a_printed_page_is_unfolded_and_light_and_has_no_buttons(opened, tmp_path):
    page = opened(PAGES["scan"](), scheme="dark")
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.evaluate(folded)
    assert before >= 3
    page.evaluate(f"addEventListener('beforeprint', () => {{ window.folded = {folded} }})")
    page.pdf(tmp_path / "page.pdf")
    assert page.evaluate("window.folded") == 0
    assert page.evaluate(folded) == before
    page.call("Emulation.setEmulatedMedia", media="print",
              features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    shown = page.evaluate("""[...document.querySelectorAll("nav, .copyable button, .readout")]
      .filter(one => one.checkVisibility()).length""")
    assert shown == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_chart_without_values_has_no_readout(opened):
    page = opened(one(interval_chart([], label="x", across="y")))
    assert page.evaluate("document.querySelectorAll('.readout').length") == 0
    assert json.dumps(page.seen("Runtime.exceptionThrown")) == "[]"

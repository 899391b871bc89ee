"""The pictures of the README: ``make pictures`` scans the built-in model and opens the report."""

import sys
import tempfile
from pathlib import Path

import cruxlm as crux
from chromium import Chromium
from cruxlm.report.scan_page import scan_page

SHOTS = {
    "report.png": {"width": 1160, "height": 1060},
    "report-dark.png": {"width": 1160, "height": 1060, "scheme": "dark"},
    "report-phone.png": {"width": 390, "height": 1560},
}
POINTED_AT = 9
"""The block of the score's chart that is pointed at."""
PLACE = """(number => {
  const box = document.querySelectorAll(".hit")[number].getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 3];
})"""
BOX = """(() => {
  const heading = [...document.querySelectorAll("h2")].find(one => one.textContent === "%s");
  const box = heading.parentNode.getBoundingClientRect();
  return { x: box.x - 12, y: box.y + scrollY - 12, width: box.width + 24, height: box.height + 24,
           scale: 1 };
})()"""


def pictures(folder: Path) -> None:
    """Write every picture into a folder."""
    html = scan_page(crux.scan(control="untrained"))
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "report.html"
        file.write_text(html, "utf-8")
        browser = Chromium(Path(scratch) / "profile")
        try:
            for name, how in SHOTS.items():
                page = browser.open(file, **how)
                page.move(*page.evaluate(f"{PLACE}({POINTED_AT})"))
                page.picture(folder / name)
                page.close()
            page = browser.open(file, width=1160)
            clip = page.evaluate(BOX % "How to doubt this")
            page.picture(folder / "report-doubt.png", clip=clip)
        finally:
            browser.close()


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))

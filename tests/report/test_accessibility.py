"""axe-core finds nothing serious: on every kind of page, light and dark, folded and unfolded.

axe is not ours to ship: ``make test`` installs the package that brings it along.
"""

from pathlib import Path

import pytest

from report.pages import PAGES

AXE = Path(__file__).parents[2] / "build" / "axe" / "axe_playwright_python" / "axe.min.js"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not AXE.exists(), reason="no axe: make build/axe/installed"),
]
RUN = """axe.run(document, { resultTypes: ["violations"] }).then(found => found.violations
  .filter(one => ["serious", "critical", "moderate"].includes(one.impact))
  .map(one => [one.id, one.impact, one.nodes[0].html.slice(0, 200), one.nodes.length]))"""


def violations(page):
    page.evaluate(f"{AXE.read_text('utf-8')}; 0")
    return page.evaluate(RUN)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_nothing(kind, scheme, width, opened):
    page = opened(PAGES[kind](), scheme=scheme, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.evaluate("document.querySelectorAll('th button')[0].click()")
    page.press("Tab")
    assert violations(page) == []


def test_axe_finds_what_is_there(opened):
    bad = "<p><button></button><span style='color:#bbb'>pale</span><img></p>"
    html = PAGES["study"]().replace("style-src", "style-src 'unsafe-inline'; style-src-x")
    found = violations(opened(html.replace("<main>", f"<main>{bad}", 1)))
    assert {"button-name", "image-alt", "color-contrast"} <= {name for name, *_ in found}

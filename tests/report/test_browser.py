"""The pages in a browser: nothing is wider than the page, whatever names hold runs or asks for."""

import re

import pytest

from cruxlm.report.arms_page import arms_page
from report.pages import PAGES
from report.test_scan_page import HOSTILE
from results.made_comparisons import made_arm, made_comparison

LONG = "a_very_long_name_without_a_single_space_" * 4
pytestmark = pytest.mark.browser

# What stands out of its box, once as the page opens and once with everything unfolded.
LAYOUT = """(() => [false, true].map(unfolded => {
  document.querySelectorAll("details").forEach(one => one.open = unfolded);
  const root = document.documentElement, look = getComputedStyle(document.body);
  const wide = [...document.querySelectorAll("body *")].filter(one =>
    one.clientWidth && one.scrollWidth > one.clientWidth + 1
    && !one.closest(".scroll, svg, .unseen"));
  return {
    width: root.clientWidth, needed: root.scrollWidth, height: root.scrollHeight,
    wide: wide.map(one => one.tagName + ": " + one.textContent.slice(0, 60)),
    charts: document.querySelectorAll("svg.chart").length,
    background: look.backgroundColor, ink: look.color,
  };
}))()"""
RAN = "[typeof window.ran, document.scripts.length, document.images.length]"
# Everything that could have been run by a name that became markup, or by a page that is not ours.
TROUBLE = ("Page.javascriptDialogOpening", "Runtime.exceptionThrown", "Log.entryAdded",
           "Runtime.consoleAPICalled", "Page.windowOpen", "Page.downloadWillBegin")  # fmt: skip


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def troubles(page):
    return [(kind, event) for kind in TROUBLE for event in page.seen(kind)]


@pytest.mark.parametrize("text", ["", LONG], ids=["short", "long"])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_is_wider_than_the_page(kind, text, opened):
    html = PAGES[kind](text)
    for scheme in ("light", "dark"):
        page = opened(html, scheme=scheme)
        for width in (390, 820, 1280):
            page.resize(width, 900)
            for one in page.evaluate(LAYOUT):
                assert one["width"] == one["needed"] == width, one
                assert one["wide"] == []
                assert one["charts"] >= 1
                assert (brightness(one["background"]) > 128) == (scheme == "light")
                assert abs(brightness(one["background"]) - brightness(one["ink"])) > 150
        assert troubles(page) == []


def test_a_page_that_is_too_wide_is_noticed(opened):
    wide = PAGES["study"]().replace("<main>", f"<main><table><tr><td>{LONG}</table>")
    found = opened(wide, width=390).evaluate(LAYOUT)[0]
    assert found["needed"] > 390
    assert found["wide"]


@pytest.mark.parametrize("kind", PAGES)
def test_hostile_names_run_nothing_and_ask_for_nothing(kind, opened):
    text = f"{HOSTILE}<svg onload=x()><script>window.ran = 1</script>\n"
    page = opened(PAGES[kind](text))
    assert page.requests() == []
    assert troubles(page) == []
    assert page.evaluate(RAN) == ["undefined", 1, 0]
    assert "<script>alert(1)</script>" in page.evaluate("document.body.innerText")
    # Sorting and reading values move texts about: as texts.
    page.evaluate("document.querySelectorAll('th button').forEach(one => one.click())")
    page.evaluate("""document.querySelectorAll('.readout').forEach(one => {
      for (const key of ['Home', 'ArrowRight', 'End'])
        one.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    })""")
    assert page.evaluate(RAN) == ["undefined", 1, 0]
    assert troubles(page) == []


def test_what_runs_or_asks_is_noticed(opened):
    """The negative control, with the policy and without it."""
    evil = "<img src='http://evil.test/x' onerror='window.ran = 1'><script>window.ran = 1</script>"
    html = PAGES["study"]().replace("<main>", f"<main>{evil}")
    kept = opened(html)
    assert kept.evaluate("typeof window.ran") == "undefined"
    assert len(troubles(kept)) >= 2  # the policy says what it refused
    bare = opened(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html))
    assert bare.evaluate("window.ran") == 1
    assert bare.requests() == ["http://evil.test/x"]


def test_ten_thousand_arms_are_a_page_that_opens(opened):
    arms = [made_arm(f"arm {n}", (n % 7,), 1 + n / 1e4) for n in range(10_000)]
    finding = "; ".join(f"{arm.name} is not distinguishable" for arm in arms)
    html = arms_page(made_comparison(*arms, finding=finding))
    assert len(html.encode()) < 1_000_000
    page = opened(html, width=390)
    assert troubles(page) == []
    said = page.evaluate("document.body.innerText")
    assert re.search(r"[\d,]+ of 10,001 rows are not shown here; all are in comparison.json", said)
    assert "the whole of it is in the JSON file" in said

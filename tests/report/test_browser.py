"""The report in a browser: nothing is wider than the page, on desk and phone, light and dark."""

import html
import json
import re
import shutil
import subprocess

import pytest

from cruxlm.report.scan_page import scan_page
from cruxlm.report.verify_page import verify_page
from results.made_scans import made_scan
from results.made_verifications import made_verification

BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
WIDTHS = (390, 1200)
LONG = "a_very_long_name_without_a_single_space_" * 4

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        BROWSER is None, reason="no Chromium is installed: apt-get install chromium"
    ),
]

# The page itself forbids scripts; it is measured from the page around it, once as it opens and once
# with everything unfolded. A frame, because a headless window cannot be as narrow as a phone.
AROUND = """<!doctype html><title>waiting</title>{frames}<script>
onload = () => {{
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) {{
    const page = frame.contentDocument, root = page.documentElement;
    for (const unfolded of [false, true]) {{
      page.querySelectorAll("details").forEach(one => one.open = unfolded);
      const wide = [...page.querySelectorAll("body *")].filter(one =>
        one.clientWidth && one.scrollWidth > one.clientWidth + 1 && !one.closest(".scroll, svg"));
      found.push({{
        width: root.clientWidth, needed: root.scrollWidth, height: root.scrollHeight,
        wide: wide.map(one => one.tagName + ": " + one.textContent.slice(0, 60)),
        charts: page.querySelectorAll("svg").length,
        background: getComputedStyle(page.body).backgroundColor,
        ink: getComputedStyle(page.body).color,
      }});
    }}
  }}
  document.title = JSON.stringify(found);
}};
</script>"""


def measured(page, scheme, folder):
    frames = "".join(
        f'<iframe srcdoc="{html.escape(page)}" style="border:0;width:{width}px"></iframe>'
        for width in WIDTHS
    )
    around = folder / "around.html"
    around.write_text(AROUND.format(frames=frames), "utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1300,900", "--hide-scrollbars",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        "--dump-dom", around.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)
    return json.loads(html.unescape(title[1]))


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("page", "charts"),
    [
        (lambda: scan_page(made_scan(36, probes=("builtin", "other"))), 5),
        (lambda: scan_page(made_scan(6, probes=(LONG, f"{LONG}2"), text=LONG)), 5),
        (lambda: verify_page(made_verification()), 3),
        (lambda: verify_page(made_verification(text=LONG)), 3),
    ],
    ids=["scan", "scan, long names", "verification", "verification, long names"],
)
def test_nothing_is_wider_than_the_page(page, charts, scheme, tmp_path):
    shown = page()
    found = measured(shown, scheme, tmp_path)
    assert [one["width"] for one in found] == [390, 390, 1200, 1200]
    for one in found:
        assert one["needed"] == one["width"], one
        assert one["wide"] == []
        assert one["charts"] >= charts
        assert (brightness(one["background"]) > 128) == (scheme == "light")
        assert abs(brightness(one["background"]) - brightness(one["ink"])) > 150
    folded, unfolded = found[:2]
    assert (unfolded["height"] > folded["height"]) == ("<details" in shown)


def test_a_page_that_is_too_wide_is_noticed(tmp_path):
    page = scan_page(made_scan(6)).replace(
        "<main>", f"<main><pre style='white-space:pre'>{LONG}</pre>"
    )
    found = measured(page, "light", tmp_path)
    assert found[0]["needed"] > 390
    assert found[0]["wide"]

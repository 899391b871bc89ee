"""The report: one file that asks for nothing, runs nothing, and cannot be written into."""

import base64
import hashlib
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from cruxlm.report.page import STYLE
from cruxlm.report.scan_page import scan_page
from cruxlm.results.scan import BUILTIN_MODEL
from results.made_scans import made_scan

TAGS = {
    "html", "head", "meta", "title", "style", "script", "body", "main", "nav", "a", "section",
    "div", "h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "pre", "code", "b", "em", "details",
    "summary", "table", "thead", "tbody", "tr", "th", "td",
    "svg", "g", "path", "rect", "circle", "text", "polyline", "polygon",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "class", "viewbox", "role", "aria-label",
    "d", "x", "y", "width", "height", "rx", "cx", "cy", "r", "points", "fill", "opacity",
    "stroke", "stroke-width", "text-anchor", "id", "href", "scope", "data-v", "data-label",
    "data-values", "data-box", "transform",
}  # fmt: skip
HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)>--></style></title></svg>"
    "<a href='http://evil.test'>&lt;&#60;\x00\x07\x1b[31m\u202e\u2066\ud800\u2028]]><!--"
)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.structure, self.texts, self.styles, self.values, self.links = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.structure.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value for _, value in attrs]
        self.links += [value for name, value in attrs if name == "href"]

    def handle_endtag(self, tag):
        self.structure.append((f"/{tag}", ()))

    def handle_data(self, data):
        (self.styles if self.structure[-1][0] in ("style", "script") else self.texts).append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data):
        raise AssertionError(f"a processing instruction: {data}")

    def unknown_decl(self, data):
        raise AssertionError(f"a declaration: {data}")


def page_of(**options):
    return scan_page(made_scan(**options))


def test_the_page_is_one_file_that_asks_for_nothing():
    html = page_of(blocks=12, probes=("builtin", "other"))
    page = Page(html)
    script = page.styles[-1]
    drawing = '"http://www.w3.org/2000/svg"'  # a name that is never asked for
    assert html.count("<script") == 1
    for word in ("http://", "https://", "src=", "url(", "@import", "<link", "style=", "eval("):
        assert word not in html.replace(drawing, "")
    assert not re.search(r"<[^>]* on[a-z]+=", html.replace(script, ""))
    assert all(re.fullmatch(r"#part-\d+", link) for link in page.links)
    assert {link[1:] for link in page.links} <= set(re.findall(r'id="(part-\d+)"', html))
    assert html.startswith("<!doctype html>")


def test_the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else():
    html = page_of(blocks=12)
    policy = re.search(r'Security-Policy" content="([^"]*)"', html)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert (rules.pop("base-uri"), rules.pop("form-action")) == ("'none'", "'none'")
    for tag in ("style", "script"):
        source = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
        assert "</" + tag not in source
        assert "<!--" not in source
    assert not rules


def test_only_harmless_tags_and_attributes_are_used_and_all_are_closed():
    page = Page(page_of(blocks=12, probes=("builtin", "other")))
    open_tags = []
    for tag, attributes in page.structure:
        assert tag.lstrip("/") in TAGS
        assert set(attributes) <= ATTRIBUTES
        if tag.startswith("/"):
            assert open_tags.pop() == tag[1:]
        elif tag != "meta":
            open_tags.append(tag)
    assert open_tags == []


@pytest.mark.parametrize("hostile", [HOSTILE, HOSTILE[::-1], HOSTILE * 20])
def test_hostile_names_change_nothing_but_the_text(hostile):
    probes = ("builtin", hostile)
    harmless = "\x07" + "x" * len(hostile)  # as long, and with a character to write out
    plain = Page(page_of(blocks=12, probes=("builtin", harmless), text=harmless))
    page = Page(page_of(blocks=12, probes=probes, text=hostile))
    assert page.structure == plain.structure
    assert page.styles == plain.styles
    text = "".join(page.texts)
    assert "<script>alert(1)</script>" in text or "<script>"[::-1] in text  # shown, not run
    for shown in (text, *page.values):
        assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_hostile_primary_probe_changes_nothing_but_the_text():
    plain = Page(page_of(blocks=12, probes=("builtin",)))
    page = Page(page_of(blocks=12, probes=(HOSTILE,)))
    assert page.structure == plain.structure


@pytest.mark.parametrize("name", ["$(rm -rf ~)", "a; reboot", "my model", "it's", "--out", "`id`"])
def test_commands_to_copy_hold_the_model_as_one_word(name):
    scan = made_scan(8, control=False, text=name)
    shown = Page(scan_page(scan)).texts
    commands = [line for line in shown if line.startswith("crux scan ")]
    assert len(commands) == 2
    for command in commands:
        assert shlex.split(command)[2] == f"{name}model"


def test_the_builtin_model_needs_no_name():
    from dataclasses import replace

    scan = replace(made_scan(8, control=False), model=BUILTIN_MODEL)
    assert "crux scan --control untrained" in scan_page(scan)


def test_the_page_says_what_a_reader_needs_to_doubt_it():
    scan = made_scan(12, probes=("builtin", "other"))
    text = " ".join(Page(scan_page(scan)).texts)
    assert scan.finding in text
    for said in (
        "95 % interval", "half-samples", "Is it only depth?", "untrained", "Provenance",
        "2 prompts left out (empty)", "1 prompts left out (too long)", "a warning",
        "20% of the variance", "too few blocks to say", "0" * 64, "How to doubt this",
        "depth alone", "the same architecture untrained", "When dynamics misleads", "How sure",
        "With a chat template all prompts end in the same token", "Compared with what",
    ):  # fmt: skip
        assert said in text, said
    for reason in scan.selection.reasons:
        assert reason in text


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "options",
    [
        {"blocks": 1, "control": False},
        {"blocks": 2},
        {"blocks": 6, "values": [np.nan, 0.2, np.nan, 0.3, 0.1, np.nan]},
        {"blocks": 6, "values": [0.25] * 6},
        {"blocks": 36, "control": False},
    ],
    ids=["one block", "two blocks", "gaps", "ties", "no control"],
)
def test_every_scan_has_a_page(options):
    html = page_of(**options)
    assert 'nan"' not in html
    assert ">nan<" not in html
    assert "± -" not in html
    Page(html)


@pytest.mark.parametrize("times", [1, 12])
def test_a_page_of_126_blocks_with_many_scores_is_small(times):
    scan = made_scan(126, probes=("builtin", "other"))
    copies = ["", *(f"#{number}" for number in range(1, times))]
    many = replace(
        scan,
        scores={label + copy: held for copy in copies for label, held in scan.scores.items()},
        agreement={**scan.agreement, "pairs": scan.agreement["pairs"] * times**2},
    )
    html = scan_page(many)
    assert len(html.encode()) < 1_000_000
    assert html.count("<tr") > 126
    assert ("not shown here; all are in scan.json" in html) == (times > 1)


def test_the_notebook_picture_is_as_harmless():
    page = Page(made_scan(8, text=HOSTILE)._repr_html_())
    assert {tag.lstrip("/") for tag, _ in page.structure} <= TAGS
    assert {name for _, names in page.structure for name in names} <= ATTRIBUTES


def test_light_and_dark_have_the_same_colours():
    light, dark = (set(re.findall(r"--[a-z]+(?=:)", part)) for part in STYLE.split("@media", 1))
    assert dark <= light
    assert {"--bg", "--card", "--ink", "--muted", "--line", "--accent", "--mark"} <= dark

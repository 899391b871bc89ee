"""The box of doubts: when each criterion misleads, and which controls were run."""

import re
from dataclasses import replace

import pytest

from cruxlm.criteria.registry import CRITERIA
from cruxlm.report.doubt import Control, doubt_section, inline, misleads
from cruxlm.report.scan_doubts import scan_doubts, scan_facts
from report.pages import PAGES
from report.test_scan_page import Page
from results.made_scans import made_scan

BUILT_IN = ["dynamics", "block_influence", "angular_distance", "substitution", "ablation",
            "weight_change", "gradient_norm", "depth", "random"]  # fmt: skip


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_criterion_says_when_it_misleads(name):
    points = misleads(name)
    source = " ".join(CRITERIA.get(name).page().split())
    assert len(points) >= 2
    for point in points:
        assert point in source
        assert len(point) > 40
        shown = inline(point)
        assert "`" not in shown
        assert not re.search(r"(?<!\w)\*\w", re.sub(r"<code>.*?</code>", "", shown))


def test_what_has_no_page_says_nothing():
    assert misleads("a plug-in that is not installed") == ()
    box = doubt_section((), ["no such criterion"], ())
    assert "misleads" not in box.body
    assert "Nothing to warn of." in box.body


def test_markdown_becomes_emphasis_and_nothing_else():
    assert inline("*a b* `c<d>` **e** 2 * 3 * 4 <script>") == (
        "<em>a b</em> <code>c&lt;d&gt;</code> <b>e</b> 2 * 3 * 4 &lt;script&gt;"
    )


def test_the_first_criterion_is_open_and_the_others_can_be_unfolded():
    body = doubt_section((), ["ablation", "dynamics", "ablation"], ()).body
    assert body.index("<h3>When ablation misleads</h3>") < body.index(
        "<summary>When dynamics misleads</summary>"
    )
    assert body.count("misleads</") == 2


def test_of_a_thousand_warnings_the_first_are_shown():
    body = doubt_section((), (), [f"warning {n}" for n in range(1000)]).body
    assert "and 960 more" in body
    assert len(re.findall("warning \\d", body)) == 40


def test_controls_are_text():
    body = doubt_section([Control("<a>", "<b>", "<i>")], (), ()).body
    assert "&lt;a&gt;" in body
    assert "<i>" not in body


@pytest.mark.parametrize("kind", PAGES)
def test_every_page_has_the_box_and_a_block_of_provenance(kind):
    html = PAGES[kind]()
    assert html.count('class="wide doubt"') == 1
    assert 'data-label="the provenance"' in html


def test_a_control_that_was_not_run_is_named_with_how_to_run_it():
    def said(scan):
        return " ".join(Page(scan_doubts(scan).body).texts)

    bare = said(made_scan(12, control=False))
    assert "not run: add --control untrained" in bare
    assert "not run: add --probe random-tokens" in bare
    run = said(made_scan(36, probes=("builtin", "other")))
    assert "not run" not in run
    assert "does not rank the blocks alike" in run
    assert "probe other" in run


def test_a_glance_has_the_numbers_of_the_scan():
    scan = made_scan(36)
    what, sure, compared = scan_facts(scan)
    assert what.answer == f"blocks {', '.join(map(str, scan.selection.blocks))}"
    steady = sum(scan.selection.frequency[b] >= 0.9 for b in scan.selection.blocks)
    assert sure.answer == f"{steady} of 5 steady"
    found = scan.agreement["controls"]["untrained"]["dynamics"]
    assert compared.answer == f"{found['shared']} of 5 without training"
    bare = made_scan(36, control=False)
    assert scan_facts(bare)[2].answer == "depth only"
    assert "no untrained network yet" in scan_facts(bare)[2].more
    unhalved = replace(scan, selection=replace(scan.selection, frequency=None))
    assert scan_facts(unhalved)[1].answer == "not known"

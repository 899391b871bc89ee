"""The card of a published result, whatever names are in it."""

import ast
import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import metadata_load
from markdown_it import MarkdownIt

from cruxlm.report.card import card
from cruxlm.results.kinds import KINDS, kind_of
from cruxlm.runtime.errors import OptionError, printable
from results.made_attacks import made_attacked
from results.made_comparisons import made_arm, made_comparison
from results.made_defences import made_defence
from results.made_scans import made_scan
from results.made_screenings import made_screening
from results.made_spectra import made_interventions, made_spectra
from results.made_verifications import made_verification
from results.test_notebook import plan
from results.test_tuning import evaluation, made_tuning
from runtime.test_markdown import Words

NAMES = [
    "</script><script>alert(1)</script>",
    "a\n---\n# b\n- c: [d](javascript:e)",
    "\"quoted\": 'it' {x} | y | `z` ~~~ ``` ![i](http://x.y/i.png)",
    "&lt;b&gt; <b>x</b> <!-- http://x.y www.x.y \u202e\x1b[2J",
    "- !!python/object:os.system [rm]",
]
SHOWN = {
    "h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "pre", "code", "em",
    "strong",
}  # fmt: skip


def made(kind, text=""):
    """A result with ``text`` wherever a name may stand."""
    if kind == "scan":
        return made_scan(text=text)
    if kind == "comparison":
        arms = (made_arm(f"{text}a"), made_arm(f"{text}b"))
        return made_comparison(*arms, model=f"{text}m", warnings=(f"{text}w",), finding=f"{text}f")
    if kind == "verification":
        return made_verification(text=text)
    if kind == "spectra":
        return made_spectra(text=text)
    if kind == "attacked":
        return made_attacked(text=text)
    if kind == "defence":
        return made_defence(text=text)
    if kind == "screening":
        return made_screening(text=text)
    if kind == "interventions":
        return made_interventions(text=text)
    if kind == "plan":
        return plan("lora", f"{text}m", ranks=(8, 4), alphas=(16.0, 8.0), reasons=(text, "b"))
    if kind == "tuning":
        return made_tuning(model=f"{text}m", plan=replace(made_tuning().plan, why=f"{text}w"))
    return replace(evaluation([1.0, 2.0]), evaluator=f"{text}loss", groups=(f"{text}g", None))


def parts(text):
    """The metadata of a card, and what Markdown makes of the rest."""
    _, head, body = re.split(r"^---\n", text, maxsplit=2, flags=re.MULTILINE)
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return yaml.safe_load(head), Words(parser.render(body))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_shown_and_does_nothing(kind, text, tmp_path):
    shown = card(made(kind, text), "owner/name", [f"{kind}.json", "report.html"])
    metadata, read = parts(shown)
    assert {tag for tag, _ in read.tags} <= SHOWN
    assert all(set(attributes) <= {"class"} for _, attributes in read.tags)
    assert " ".join(printable(text).split()) in " ".join(read.text.split())
    plain = parts(card(made(kind), "owner/name", [f"{kind}.json", "report.html"]))[1]
    for tag in ("h1", "h2", "pre"):  # no more headings and blocks than ours
        count = [t for t, _ in plain.tags].count(tag)
        assert [t for t, _ in read.tags].count(tag) == count
    # The hub's own reader finds the same metadata.
    (tmp_path / "README.md").write_text(shown, "utf-8")
    assert metadata_load(tmp_path / "README.md") == metadata
    assert set(metadata) == {"pretty_name", "tags", "viewer", "crux"}
    assert DatasetCard(shown).data.to_dict()["crux"] == metadata["crux"]
    if kind not in ("verification", "evaluation"):
        assert metadata["crux"]["model"] == made(kind, text).model  # as it is, to the letter


def test_the_metadata_say_what_a_scan_found():
    scan = made_scan(probes=("builtin", "other"))
    metadata, _ = parts(card(scan, "owner/name", ["scan.json"]))
    assert metadata["tags"] == ["crux", "crux-scan", "interpretability"]
    assert metadata["viewer"] is False
    assert metadata["crux"] == {
        "result": "scan",
        "format": "crux.scan/1",
        "model": "model",
        "identity": {"revision": "main"},
        "criterion": "dynamics",
        "rule": scan.selection.rule,
        "blocks": list(scan.selection.blocks),
        "of": 12,
        "seed": 0,
        "data": {"builtin": "0" * 64, "other": "0" * 64},
    }
    versions = {**scan.provenance, "versions": {"cruxlm": "0.1.0"}}
    metadata, read = parts(card(replace(scan, provenance=versions), "owner/name", []))
    assert metadata["crux"]["version"] == "0.1.0"
    assert "versions cruxlm: 0.1.0" in read.text


def test_metadata_of_the_others():
    said = {kind: parts(card(made(kind), "o/n", []))[0]["crux"] for kind in KINDS}
    assert said["tuning"]["method"] == "full"
    assert said["tuning"]["blocks"] == [0, 2]
    assert (said["tuning"]["seed"], said["tuning"]["data"]) == (3, "f00")
    assert said["comparison"]["method"] == {"a": "full", "b": "full"}
    assert (said["comparison"]["seed"], said["comparison"]["data"]) == ([0, 1], "abc")
    assert said["verification"]["model"][0] == {"before": "base-0", "after": "tuned-0"}
    assert said["verification"]["criterion"] == "dynamics"
    assert (said["plan"]["method"], said["plan"]["blocks"]) == ("lora", [1, 3])
    assert said["evaluation"]["examples"] == 2


def test_a_reader_is_told_what_to_doubt():
    scan = made_scan(control=False)
    _, read = parts(card(scan, "owner/name", []))
    assert scan.finding in read.text
    for line in ("dynamics: a warning", "It is often depth.", "Block 0 leads nearly always",
                 "No untrained network"):  # fmt: skip
        assert line in read.text
    assert "No untrained network" not in parts(card(made_scan(), "o/n", []))[1].text
    for kind in KINDS:
        assert "How to doubt this" in card(made(kind), "o/n", [])
    assert "The weights are not in this dataset." in card(made("tuning"), "o/n", [])
    assert "read p, not rho" in card(made("verification"), "o/n", [])
    assert "of twenty arms without effect" in card(made("comparison"), "o/n", [])


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_is_python_and_names_the_dataset(kind):
    text = card(made(kind), "owner/name", [])
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    ast.parse(code)
    assert 'snapshot_download("owner/name", repo_type="dataset")' in code
    assert f"{kind} = crux.load_result(folder)" in code


def test_a_long_table_is_cut_and_says_so():
    many = made("plan")
    names = tuple(f"l.{i}" for i in range(5000))
    blocks = tuple(range(5000))
    given = {"ranks": (1,) * 5000, "alphas": (1.0,) * 5000, "reasons": ("r",) * 5000}
    text = card(replace(many, names=names, blocks=blocks, **given), "o/n", [])
    assert text.count("| r |") == 60
    assert "and 4,940 more." in text


def test_kinds():
    assert [kind_of(made(kind)) for kind in KINDS] == list(KINDS)
    for other in (made_scan().selection, made_scan().primary, None, "scan", 3):
        with pytest.raises(OptionError, match="is no result that can be saved on its own"):
            kind_of(other)

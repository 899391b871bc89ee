"""The commands as they are used: what they print, and that they write only what they should."""

import json
import re
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

import cruxlm
from cruxlm.charts.table import as_text, block_table
from cruxlm.cli.main import main, run
from cruxlm.criteria import CRITERIA
from cruxlm.data.probes import BUILTIN
from cruxlm.results.scan import Scan
from results.made_scans import made_scan


@pytest.fixture
def crux(capfd, monkeypatch):
    """Runs a command that must succeed; its output, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        capfd.readouterr()
        code = run(list(map(str, arguments)))
        said, error = capfd.readouterr()
        assert (code, error) == (0, ""), (code, said, error)
        return said

    return call


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


# Scanning.


@pytest.fixture(scope="module")
def out(llama_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "deep" / "out"
    assert run(["scan", str(llama_folder), "--n", "40", "--out", str(folder), "--json"]) == 0
    return folder


def test_scan_writes_three_files_and_prints_the_table(crux, llama_folder, tmp_path):
    said = crux("scan", llama_folder, "--n", 12, "--out", tmp_path / "out")
    assert files(tmp_path) == ["out", "report.html", "scan.json", "scan.safetensors"]
    scan = Scan.load(tmp_path / "out")
    assert said.startswith(f"{llama_folder} (6 blocks)")
    assert "probe builtin, n = 12, pooling last, chat" in said
    assert " ".join(scan.finding.split()) in " ".join(said.split())
    assert said.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    for block in scan.selection.blocks:
        assert re.search(rf"^▶ +{block} +█", said, re.MULTILINE)


def test_scan_without_out_writes_nothing(crux, llama_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "report:" not in crux("scan", llama_folder, "--n", 12)
    assert files(tmp_path) == []


def test_json_is_all_that_is_printed(crux, llama_folder, tmp_path):
    said = crux("scan", llama_folder, "--n", 12, "--json", "--criteria", "dynamics:paper",
                "--out", tmp_path)  # fmt: skip
    found = json.loads(said, parse_constant=pytest.fail)
    assert found == json.loads((tmp_path / "scan.json").read_text("utf-8"))
    assert found["criteria"]["dynamics"]["values"][0] is None  # the paper drops the ends
    assert said.isascii()


def test_equal_scans_give_equal_json_outside_the_run(out, llama_folder, tmp_path):
    assert run(["scan", str(llama_folder), "--n", "40", "--out", str(tmp_path), "--json"]) == 0
    one, two = (json.loads((path / "scan.json").read_text()) for path in (out, tmp_path))
    assert one.pop("run") != two.pop("run")
    assert one == two
    assert (out / "scan.safetensors").read_bytes() == (tmp_path / "scan.safetensors").read_bytes()


def test_a_scan_over_an_older_one_replaces_it(crux, llama_folder, tmp_path):
    for n in (12, 16):
        crux("scan", llama_folder, "--n", n, "--out", tmp_path)
        assert Scan.load(tmp_path).probes["builtin"]["n"] == n
    assert len(files(tmp_path)) == 3


def test_several_criteria_and_probes(crux, llama_folder, tmp_path):
    texts = tmp_path / "my.texts.txt"
    texts.write_text("\n".join(f"line {i} {'x' * i}" for i in range(12)))
    crux("scan", llama_folder, "--n", 12, "--criteria", "cka,dynamics:paper,block_influence",
         "--probe", "builtin,random-tokens", "--probe", texts, "--probe", "testbed:recall,lists",
         "--select", "top:1", "--out", tmp_path / "out")  # fmt: skip
    labels = ["dynamics", "dynamics:paper", "block_influence"]
    others = ("random-tokens", "my.texts", "testbed:recall,lists")
    expected = labels + [f"{x}@{p}" for p in others for x in labels]
    assert list(Scan.load(tmp_path / "out").scores) == expected


def test_options_reach_the_scan(crux, llama_folder):
    def found(*options):
        return json.loads(crux("scan", llama_folder, "--n", 12, "--json", *options))

    plain = found()
    assert found("--limit", 16)["probes"]["builtin"]["n"] == 16
    assert found("--pooling", "mean")["probes"]["builtin"]["pooling"] == "mean"
    assert found("--template", "raw")["probes"]["builtin"]["template"] == "raw"
    assert found("--window", 5)["criteria"]["dynamics"]["options"]["window"] == 5
    assert found("--k", 1)["selection"]["rule"] == "top:1"
    assert found("--select", "window:2")["selection"]["rule"] == "window:2"
    assert found("--ends", "keep")["selection"]["ends"] == "keep"
    assert found("--control", "untrained")["controls"]["untrained"]["dynamics"]["values"]
    assert found("--within-groups")["probes"]["builtin"]["groups"]["removed"]
    assert found("--seed", 3)["provenance"]["seed"] == 3
    assert found("--dtype", "bfloat16")["provenance"]["dtype"] == "bfloat16"
    other = found("--batch-size", 5, "--padding", "left")
    assert np.allclose(
        other["criteria"]["dynamics"]["values"], plain["criteria"]["dynamics"]["values"], atol=1e-5
    )


def test_dry_run_writes_nothing(crux, llama_folder, tmp_path):
    said = crux("scan", llama_folder, "--n", 12, "--dry-run", "--out", tmp_path / "out")
    assert files(tmp_path) == []
    assert "6 blocks at model.layers" in said
    assert "probe builtin: 12 prompts (chat)" in said
    assert "score dynamics: {" in said


# Looking again.


def test_show_prints_the_table_that_scan_printed(crux, llama_folder, tmp_path):
    said = crux("scan", llama_folder, "--n", 40, "--out", tmp_path)
    shown = crux("show", tmp_path)
    assert shown == crux("show", tmp_path / "scan.json")
    assert said == f"{shown}report: {tmp_path / 'report.html'}\n"


def test_show_chooses_again(crux, out):
    scan = Scan.load(out)
    said = crux("show", out, "--select", "top:1", "--by", "block_influence", "--ends", "keep")
    first = int(np.argmax(scan["block_influence"].values))
    assert said.startswith("block_influence top:1, ends keep\n")
    assert f"{first}  model.layers.{first}  score " in said
    assert crux("show", out, "--ends", "keep").startswith("dynamics top:2, ends keep\n")


def test_a_hostile_scan_cannot_write_to_the_terminal(crux, tmp_path):
    scan = made_scan(6, probes=("b\x1b]0;own\x07", "\x1b[2Jx"), text="\x1b[31m\u202e")
    scan.save(tmp_path)
    for said in (crux("show", tmp_path), crux("show", tmp_path, "--select", "top:1"), repr(scan)):
        assert all(character.isprintable() or character == "\n" for character in said)


def test_no_heading_can_write_to_the_terminal():
    values = np.array([0.1, 0.2])
    table = block_table("a\x1b[2J", values, None, selected=[0], others={"b\x1b]0;x\x07": values})
    assert "\x1b" not in as_text(table)
    assert "\x07" not in as_text(table)
    assert as_text("[bold]:smile:") == "[bold]:smile:"


# At 80 columns.


@pytest.mark.parametrize("width", [80, 60, 200])
@pytest.mark.parametrize("blocks", [1, 6, 126])
def test_every_number_of_the_table_can_be_read(blocks, width):
    scan = made_scan(blocks, control=False)
    buffer = StringIO()
    Console(file=buffer, width=width).print(scan.table())
    lines = buffer.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if re.match(r"[▶ ] +\d+\*? ", line)]
    assert len(rows) == blocks
    assert "…" not in buffer.getvalue()
    for block, row in enumerate(rows):
        for values in (scan["dynamics"].values, scan["dynamics"].halfwidth):
            assert f" {values[block]:.4f}" in row
        for label in ("dynamics:paper", "block_influence"):
            assert f" {scan[label].values[block]:.4f}" in row


def test_no_line_wraps_at_80_columns(crux, tmp_path):
    made_scan(36, probes=("builtin", "other")).save(tmp_path)
    said = crux("show", tmp_path)
    assert max(map(len, said.splitlines())) <= 80
    legend = next(line for line in said.splitlines() if line.startswith("▶ selected"))
    assert legend.endswith("* fewer neighbours")
    assert not any(line.endswith(" ") for line in said.split("\n\n")[-1].splitlines())


# Finding out.


@pytest.mark.parametrize("name", [*CRITERIA.names(), *CRITERIA.aliases()])
def test_explain(crux, name):
    said = crux("explain", name)
    criterion = CRITERIA.get(name)
    assert criterion.name in said
    for part in ("What it answers", "Formula", "Source", "Cost", "When it misleads"):
        assert part in said
    assert f"unit: {criterion.unit}" in said
    assert criterion.cost in said


def test_list(crux):
    everything = crux("list")
    for name in [
        *CRITERIA.names(),
        *CRITERIA.aliases(),
        *BUILTIN,
        "top",
        "window",
        "peaks",
        "share",
    ]:
        assert re.search(rf"\b{name}\b", everything)
    assert max(map(len, everything.splitlines())) <= 80
    assert "builtin" in crux("list", "probes")
    assert "dynamics" not in crux("list", "probes")


def test_env(crux):
    said = crux("env")
    for name in ("python", "cruxlm", "torch", "transformers", "numpy", "platform", "device"):
        assert re.search(rf"^{name} +\S", said, re.MULTILINE)
    assert cruxlm.__version__ in said


def test_help(crux):
    said = crux()
    assert said == crux("--help")
    for command in ("scan", "show", "explain", "list", "env"):
        assert re.search(rf"\b{command}\b", said)
    assert "--probe" in crux("scan", "--help")


def test_main_exits_with_the_code(monkeypatch, capfd):
    for arguments, code in ((["list"], 0), (["nothing"], 2)):
        monkeypatch.setattr("sys.argv", ["crux", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code

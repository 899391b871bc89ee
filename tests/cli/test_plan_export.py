"""``crux plan`` and ``crux export`` as they are used: from a saved scan to another tool's file."""

import json

import pytest

from cruxlm.cli.main import run
from cruxlm.models.load import load_model
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.results.plan import Plan
from cruxlm.results.scan import Scan
from plans.exports.carried_out import executed


@pytest.fixture(scope="module")
def scan(llama_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "scan"
    asked = ["scan", str(llama_folder), "--n", "12", "--out", str(folder), "--json"]
    assert run([*asked, "--criteria", "dynamics"]) == 0
    return folder


@pytest.fixture
def crux(capfd, monkeypatch):
    """Runs a command that must succeed; what it printed, and what beside that."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        capfd.readouterr()
        code = run(list(map(str, arguments)))
        said, beside = capfd.readouterr()
        assert code == 0, beside
        return said, beside

    return call


@pytest.fixture
def refused(capfd):
    """Runs a command that must be refused; its one line."""

    def call(*arguments):
        capfd.readouterr()
        code = run(list(map(str, arguments)))
        said, line = capfd.readouterr()
        assert (code, said) == (2, ""), (code, said, line)
        assert line.startswith("crux: ")
        assert line.count("\n") == 1
        return line

    return call


def test_a_plan_of_a_saved_scan(crux, scan, tmp_path, monkeypatch):
    monkeypatch.setattr("cruxlm.workflows.planned.load_model", None)  # no model is loaded
    out = tmp_path / "new" / "plan.json"
    said, beside = crux("plan", scan, "--action", "lora", "--r", 4, "--out", out)
    plan, held = Plan.load(out), Scan.load(scan)
    assert plan == held.selection.plan("lora", r=4)
    assert said.splitlines()[1] == f"lora {len(plan.blocks)} of 6 blocks: {plan.why}"
    assert said.endswith(f"plan: {out}\n")
    assert beside == ""
    for source in (scan, scan / "scan.json"):
        said, _ = crux("plan", source, "--blocks", "dynamics:1", "--action", "train", "--json")
        assert Plan.from_json(json.loads(said)) == held.select(1).plan("train")
    said, _ = crux(
        "plan", scan, "--blocks", "first:2", "--complement", "--action", "drop", "--json"
    )
    assert json.loads(said)["blocks"] == [2, 3, 4, 5]
    said, _ = crux("plan", scan, "--blocks", out, "--action", "freeze", "--with", "norm", "--json")
    assert (json.loads(said)["blocks"], json.loads(said)["parts"]) == ([*plan.blocks], ["norm"])


def test_a_plan_of_a_model(crux, llama_folder):
    said, _ = crux("plan", llama_folder, "--blocks", "1,3", "--action", "train", "--json")
    Plan.from_json(json.loads(said)).check(load_model(str(llama_folder)).ref)


def test_a_plan_is_exported(crux, scan, tmp_path):
    plan = tmp_path / "plan.json"
    crux("plan", scan, "--blocks", "1,3", "--action", "train", "--out", plan)
    said, beside = crux("export", plan, "--to", "transformers")
    names = executed(said)["TRAINED"]
    assert {name.split(".")[2] for name in names} == {"1", "3"}
    assert beside.startswith("use: from crux_plan import")
    # What is printed is what is written, under the name that is given or the tool's own.
    for out, written in ((tmp_path / "mine.py",) * 2, (tmp_path, tmp_path / "crux_plan.py")):
        empty, _ = crux("export", plan, "--to", "transformers", "--out", out)
        assert (empty, written.read_text()) == ("", said)
    record, beside = crux("export", plan, "--to", "transformers", "--json")
    assert (json.loads(record)["text"], beside) == (said, "")


def test_a_table_of_all_tools(crux, scan, tmp_path):
    plan = tmp_path / "plan.json"
    crux("plan", scan, "--action", "lora", "--out", plan)
    said, _ = crux("export", plan)
    rows = [line.split(" ")[0] for line in said.splitlines()[1:]]
    assert [row for row in rows if row][:-1] == TARGETS.names()
    assert "transformers   transformers cannot lora blocks" in said
    assert said.endswith(f"crux export {plan} --to peft\n")
    found = json.loads(crux("export", plan, "--json")[0])
    done = [made["target"] for made in found["made"]]
    assert sorted([*done, *found["refused"]]) == sorted(TARGETS.names())
    said, _ = crux("export", plan, "--to", "peft", "--modules", "q_proj, v_proj")
    assert executed(said)["peft_config"].target_modules == {"q_proj", "v_proj"}


def test_what_makes_no_sense_is_refused(refused, crux, scan, llama_folder, tmp_path):
    plan = tmp_path / "plan.json"
    assert "name the --action" in refused("plan", scan)
    assert "did you mean 'freeze'" in refused("plan", scan, "--action", "freze")
    assert "ends in .json" in refused("plan", scan, "--action", "train", "--out", "plan")
    assert "say which --blocks" in refused("plan", scan, "--action", "train", "--complement")
    line = refused("plan", scan, "--action", "train", "--blocks", "block_influence:2")
    assert "this scan has no scores 'block_influence'" in line
    assert "r, alpha and ranks belong to lora" in refused(
        "plan", scan, "--action", "train", "--r", 2
    )
    assert "there is no plan at" in refused("export", plan)
    assert not plan.exists()
    crux("plan", scan, "--action", "train", "--out", plan)
    assert "name the tool" in refused("export", plan, "--out", tmp_path / "x")
    assert "did you mean 'axolotl'" in refused("export", plan, "--to", "axolotle")
    assert "peft cannot train blocks: " in refused("export", plan, "--to", "peft")
    assert "adapts no modules" in refused("export", plan, "--modules", "q_proj")
    assert "plan was made for" in refused("export", plan, "--model", "testbed:base-0")
    plan.write_text("{}")
    assert "is damaged" in refused("export", plan)

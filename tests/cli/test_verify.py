"""``crux verify`` and ``crux compare``: what they print and write, and what they refuse."""

import json
import re

import pytest

from cruxlm.cli.main import run
from cruxlm.results.scan import Scan
from cruxlm.results.verification import Verification
from cruxlm.workflows.tune import tune
from workflows.tiny_tunings import chat_rows, write

pytestmark = pytest.mark.usefixtures("frozen")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "rows.jsonl", chat_rows(30))


@pytest.fixture(scope="module")
def tuned(llama_folder, data, tmp_path_factory):
    """The tiny model, tuned on other rows of the same kind."""
    folder = tmp_path_factory.mktemp("tuned") / "out"
    own = write(folder.parent / "own.jsonl", chat_rows(60, first=100))
    tune(str(llama_folder), data=own, blocks="1,4", out=folder, steps=40, batch=8, checks=1,
         learning_rate=1e-2, accuracy=False)  # fmt: skip
    return folder


@pytest.fixture
def crux(capfd, monkeypatch, tmp_path):
    """Runs a command that must succeed; its output, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("CRUX_CACHE", str(tmp_path / "cache"))

    def call(*arguments):
        capfd.readouterr()
        code = run(list(map(str, arguments)))
        said, error = capfd.readouterr()
        assert (code, error) == (0, ""), (code, said, error)
        return said

    return call


def test_verify_prints_the_verdict_and_writes_its_files(crux, llama_folder, tuned, data, tmp_path):
    said = crux("verify", llama_folder, tuned, "--data", data, "--prompts", 30,
                "--out", tmp_path / "out")  # fmt: skip
    found = Verification.load(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.html", "verification.json", "verification.safetensors",
    ]  # fmt: skip
    assert said.startswith(f"{llama_folder} →")
    assert " ".join(found.finding.split()) in " ".join(said.split())
    assert "too few blocks to say" in found.finding
    assert re.search(r"^▶ dynamics +-?\d\.\d\d", said, re.MULTILINE)
    assert said.endswith(f"report: {tmp_path / 'out' / 'report.html'}\n")
    assert max(map(len, said.splitlines()[3:-1])) <= 80
    assert crux("show", tmp_path / "out") == said


def test_verify_reads_a_saved_scan(crux, llama_folder, tuned, data, tmp_path):
    crux("scan", llama_folder, "--n", 30, "--criteria", "block_influence", "--out", tmp_path / "s")
    said = crux("verify", llama_folder, tuned, "--data", data, "--scan", tmp_path / "s",
                "--criteria", "block_influence,random", "--json")  # fmt: skip
    held = json.loads(said)["pairs"][0]["predictors"]["block_influence"]
    assert held["values"] == Scan.load(tmp_path / "s")["block_influence"].values.tolist()


def test_dry_runs_evaluate_nothing(crux, llama_folder, tuned, data, monkeypatch):
    monkeypatch.setattr("cruxlm.evaluate.loss.Loss.__call__", pytest.fail)
    said = crux("verify", llama_folder, tuned, "--data", data, "--dry-run")
    assert "6 blocks; loss on 30 rows of rows (all rows" in said
    assert "predict by dynamics" in said


def test_a_scan_by_criteria_of_more_than_states(crux, llama_folder, tuned, data, tmp_path):
    names = "substitution,ablation,weight_change,gradient_norm,depth"
    said = crux("scan", tuned, "--criteria", names,
                "--data", data, "--reference", llama_folder, "--out", tmp_path / "out")  # fmt: skip
    assert "loss on 30 rows of rows" in said
    found = Scan.load(tmp_path / "out")
    assert set(found["substitution"].values.nonzero()[0]) == {1, 4}
    assert found["ablation"].evaluator == "loss"
    assert found["weight_change"].reference is not None
    with_errors = ("substitution", "ablation", "gradient_norm")
    assert all(found[label].halfwidth is not None for label in with_errors)
    assert found.probes == {}
    assert "substitution" in (tmp_path / "out" / "report.html").read_text()


def test_compare_prints_two_matrices(crux, llama_folder, data, tmp_path):
    said = crux("compare", llama_folder, "--criteria", "angular_distance,block_influence,depth",
                "--n", 30, "--out", tmp_path / "out")  # fmt: skip
    assert "above: rho (95 %); below: rho given depth" in said
    assert "above: shared of the" in said
    pairs = Scan.load(tmp_path / "out").agreement["pairs"]
    assert {(p["a"], p["b"]) for p in pairs} == {
        ("angular_distance", "block_influence"), ("angular_distance", "depth"),
        ("block_influence", "depth"),
    }  # fmt: skip
    assert all(pair["low"] <= pair["high"] for pair in pairs)
    assert pairs[0]["shared"] <= pairs[0]["k"]


def test_models_are_compared_without_block_0(crux, llama_folder, tuned):
    said = crux("compare", llama_folder, tuned, "--criteria", "block_influence", "--n", 30)
    assert "over all blocks but block 0" in said
    assert re.search(r"^block_influence +rho", said.replace("\n" + " " * 17, "\n"), re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["verify", "BASE", "TUNED"], "name the --data"),
        (["verify", "BASE", "--data", "DATA"], "models come in pairs"),
        (["verify", "BASE", "BASE", "--data", "DATA"], "nothing to verify"),
        (["verify", "BASE", "TUNED", "--data", "DATA", "--window", "2"], "window must be"),
        (["verify", "BASE", "TUNED", "--data", "DATA", "--evaluator", "los"], "did you mean"),
        (["verify", "BASE", "TUNED", "--data", "testbed:recal"], "did you mean 'recall'"),
        (["scan", "BASE", "--criteria", "ablation"], "ablation needs examples to evaluate on"),
        (["scan", "BASE", "--criteria", "weight_change"], "name the --reference"),
        (["compare", "BASE", "--criteria", "dynamics"], "two or more criteria"),
        (["compare", "BASE", "BASE", "--out", "OUT"], "--out is for the criteria of one model"),
    ],
)
def test_what_is_refused_is_one_line(capfd, llama_folder, tuned, data, tmp_path, arguments, told):
    names = {"BASE": llama_folder, "TUNED": tuned, "DATA": data, "OUT": tmp_path / "out"}
    code = run([str(names.get(argument, argument)) for argument in arguments])
    said, error = capfd.readouterr()
    assert (code, said) == (2, "")
    assert error.startswith("crux: ")
    assert error.count("\n") == 1
    assert told in error
    assert not (tmp_path / "out").exists()


def test_a_scan_by_ablation_says_what_is_needed(crux, llama_folder, data):
    said = crux("scan", llama_folder, "--criteria", "ablation,ablation:attention", "--data", data)
    told = r"(Without blocks? .* the model is worse|No single block is needed), tested over all 6"
    assert re.search(told + r" at 5% \(Holm\)\.", " ".join(said.split()))

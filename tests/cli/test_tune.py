"""``crux tune``: what it prints, what it writes, and what it refuses in one line."""

import json
import re
import sys

import pytest
from transformers import AutoModelForCausalLM

from cruxlm.actions import trainer
from cruxlm.cli.main import run
from cruxlm.results.comparison import Comparison
from cruxlm.results.tuning import Tuning
from moments import at_call, flip, stop
from workflows.tiny_tunings import chat_rows, write

pytestmark = pytest.mark.usefixtures("frozen")

FAST = ("--steps", 2, "--batch", 4, "--checks", 1, "--lr", "1e-2", "--blocks", "1,3")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "rows.jsonl", chat_rows(30))


@pytest.fixture
def crux(capfd, monkeypatch, llama_folder, data):
    """Tunes the tiny model, which must succeed; what is printed, and what is said beside it."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        capfd.readouterr()
        code = run(["tune", str(llama_folder), "--data", data, *map(str, (*FAST, *arguments))])
        said, error = capfd.readouterr()
        assert code == 0, error
        assert max(map(len, error.splitlines()), default=0) <= 120
        return said, error

    return call


@pytest.fixture
def refused(capfd, tmp_path, llama_folder, data):
    """Runs a tuning that must be refused; its one line."""

    def call(*arguments, model=True, given=True, out=True):
        before = sorted(tmp_path.rglob("*"))
        line = ["tune", *([str(llama_folder)] if model else [])]
        line += ["--data", data, *map(str, FAST)] if given else []
        line += ["--out", str(tmp_path / "never" / "out")] if out else []
        capfd.readouterr()
        code = run([*line, *map(str, arguments)])
        said, error = capfd.readouterr()
        assert (code, said) == (2, ""), (code, said, error)
        assert error.startswith("crux: ")
        assert error.count("\n") == 1
        assert error[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return call


# One run.


def test_a_run_prints_what_it_did(crux, tmp_path):
    out = tmp_path / "out"
    said, beside = crux("--out", out)
    found = Tuning.load(out)
    assert re.search(r"^full: [\d,]+ of [\d,]+ parameters \([\d.]+%\), blocks 1, 3$", said, re.M)
    assert f"{found.trained['parameters']:,}" in said
    before, after = (held["loss"].mean("token") for held in (found.before, found.after))
    assert re.search(rf"loss, nats a token +{before:.4f} ± .* {after:.4f} ± ", said)
    assert said.endswith(f"model: {out}\n")
    assert beside.startswith("trains ")
    assert "blocks 1, 3" in beside
    assert max(map(len, said.splitlines()[:-1])) <= 80
    AutoModelForCausalLM.from_pretrained(out)
    again, beside = crux("--out", out)
    assert again == said
    assert beside == f"{out} is done already\n"


def test_json_is_all_that_is_printed(crux, tmp_path):
    said, _ = crux("--out", tmp_path / "out", "--json")
    record = json.loads(said, parse_constant=pytest.fail)
    assert record == json.loads((tmp_path / "out" / "tuning.json").read_text())


def test_options_reach_the_run(crux, tmp_path):
    plan = tmp_path / "a" / "plan.json"
    crux("--out", tmp_path / "a", "--method", "lora", "--r", 3, "--alpha", 5, "--with", "norm,head",
         "--blocks", "1", "--n", 9, "--max-tokens", 90, "--seed", 4, "--accumulate", 2,
         "--schedule", "linear", "--weight-decay", 0.1, "--patience", 2, "--accuracy",
         "--consistency", 2.5, "--consistency-step", 0.2)  # fmt: skip
    found = Tuning.load(tmp_path / "a")
    assert found.settings == {
        "method": "lora", "steps": 2, "batch": 4, "accumulate": 2, "learning_rate": 0.01,
        "schedule": "linear", "warmup": 0.05, "weight_decay": 0.1, "clip": 1.0, "seed": 4,
        "checks": 1, "patience": 2, "lisa_blocks": 2, "lisa_every": 10, "pack": False,
        "cache_prefix": False, "consistency": 2.5, "consistency_step": 0.2,
    }  # fmt: skip
    assert (found.plan.blocks, found.plan.parts) == ((1,), ("norm", "head"))
    assert (found.plan.ranks, found.plan.alphas) == ((3,), (5.0,))
    assert (found.data["train"], found.data["max_tokens"]) == (9, 90)
    assert "accuracy" in found.after
    # And the plan of one run is another's, ranks and parts included.
    crux("--out", tmp_path / "b", "--method", "lora", "--blocks", plan)
    again = Tuning.load(tmp_path / "b")
    assert again.plan == found.plan
    crux("--out", tmp_path / "c", "--method", "lisa", "--lisa-blocks", 1, "--lisa-every", 3,
         "--pack", "--blocks", "first:2", "--complement", "--test", write(
             tmp_path / "t.jsonl", chat_rows(7, 100)))  # fmt: skip
    lisa = Tuning.load(tmp_path / "c")
    assert lisa.plan.blocks == (2, 3, 4, 5)
    assert lisa.settings["pack"]
    assert (lisa.settings["lisa_blocks"], lisa.settings["lisa_every"]) == (1, 3)
    assert lisa.data["test"] == 7


def test_rows_that_did_not_fit_are_spoken_of(crux, tmp_path):
    said, _ = crux("--out", tmp_path / "out", "--max-tokens", 48, "--test", write(
        tmp_path / "t.jsonl", [{"prompt": "a", "response": "b"}]))  # fmt: skip
    assert re.search(r"^! \d+ training rows were cut at the right$", said, re.M)
    assert re.search(r"^! rows left out: .*\d+ prompt too long", said, re.M)


# Looking first.


def test_a_dry_run_says_what_would_be_trained(crux, tmp_path, monkeypatch):
    monkeypatch.setattr("cruxlm.workflows.tune.fit", stop(AssertionError))
    said, beside = crux("--dry-run", "--out", tmp_path / "out")
    assert beside == ""
    lines = said.splitlines()
    assert lines[0].endswith(": 6 blocks")
    assert lines[1] == "blocks 1,3: 1, 3"
    assert lines[2].startswith("trains ")
    assert lines[2].endswith(" parameters (24.8 %): blocks 1, 3")
    assert "24 rows to train on, 3 to validate, 3 to test; 0 cut at 512 tokens" in said
    assert "full: 2 steps of 4 rows, learning rate 0.01" in said
    assert list(tmp_path.iterdir()) == []
    crux("--dry-run")  # and it needs no folder


def test_a_dry_run_of_arms(crux, tmp_path, monkeypatch):
    monkeypatch.setattr("cruxlm.workflows.tune.fit", stop(AssertionError))
    said, _ = crux("--dry-run", "--against", "last,random", "--rates", "1e-3,1e-2", "--seeds", 2)
    for name, blocks in (("1,3", "1, 3"), ("last", "4, 5"), ("random", r"\d, \d")):
        assert re.search(rf"^{name}: full, trains .*: blocks {blocks}$", said, re.M), said
    assert "learning rates 0.001, 0.01; 2 seeds" in said
    assert list(tmp_path.iterdir()) == []


# Comparing.


def test_against_controls(crux, tmp_path):
    out = tmp_path / "out"
    test = write(tmp_path / "test.jsonl", chat_rows(24, 100))
    said, beside = crux("--out", out, "--against", "random, last", "--rates", "1e-2", "--seeds", 2,
                        "--test", test)  # fmt: skip
    found = Comparison.load(out)
    assert [arm.name for arm in found.arms] == ["1,3", "random", "last"]
    assert found.seeds == (0, 1)
    assert {path.name for path in out.iterdir()} == {"comparison.json", "report.html", "runs"}
    assert " ".join(found.finding.split()) in " ".join(said.split())
    assert re.search("^▶ +1,3 ", said, re.M), said
    assert "! two seeds: " in said
    assert said.endswith(f"report: {out / 'report.html'}\n")
    assert max(map(len, said.splitlines()[:-1])) <= 80
    assert "measuring the model as it is" in beside


def test_arms_from_a_file(crux, tmp_path):
    path = tmp_path / "arms.yaml"
    path.write_text("a: 1,3\nb: {blocks: 'random:2@{seed}', method: lora, r: 2}\n")
    said, _ = crux(
        "--out", tmp_path / "o", "--arms", path, "--rates", "1e-2", "--seeds", 1, "--json"
    )
    record = json.loads(said, parse_constant=pytest.fail)
    assert record == json.loads((tmp_path / "o" / "comparison.json").read_text())
    assert [arm["method"] for arm in record["arms"]] == ["full", "lora"]
    assert record["settings"]["steps"] == 2


# What is refused.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--blocks", "9"], "block 9: the model has blocks 0 to 5"),
        (["--blocks", "frist:2"], "did you mean 'first'"),
        (["--blocks", "all", "--complement"], "which is every block, is empty"),
        (["--blocks", "nowhere.json"], "there is no plan at nowhere.json"),
        (["--method", "ful"], "no method 'ful': did you mean 'full'"),
        (["--with", "haed"], "no part 'haed': did you mean 'head'"),
        (["--lr", "-1"], "the learning rate must be above 0"),
        (["--steps", "0"], "steps must be 1 or more"),
        (["--steps", "many"], "'--steps'"),
        (["--checks", "0"], "checks must be 1 or more"),
        (["--patience", "0"], "patience must be 1 or more"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--n", "99"], "has 24 rows to train on: --n 99 is too many"),
        (["--n", "0"], "n must be 1 or more"),
        (["--max-tokens", "5"], "prompts fill the 5 tokens"),
        (["--pack", "--cache-prefix"], "packed or cached, not both"),
        (["--cache-prefix", "--blocks", "0"], "block 0 is trained"),
        (["--test", "nowhere.jsonl"], "there is no nowhere.jsonl"),
        (["--against", "lats"], "no control 'lats': did you mean 'last'"),
        (["--against", "last", "--rates", "1e-3,x"], "--rates: 'x' is no learning rate"),
        (["--against", "last", "--rates", "1e-3,-1"], "the learning rate must be above 0"),
        (["--against", "last", "--arms", "a.yaml"], "--arms or --against, not both"),
        (["--arms", "nowhere.yaml"], "there is no file nowhere.yaml"),
        (["--against", "last", "--seeds", "0"], "'--seeds'"),
        (["--dtype", "float31"], "no dtype 'float31'"),
        (["--no-such-option"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense(refused, options, said):
    assert said in refused(*options)


def test_what_is_not_named(refused, data, tmp_path):
    assert "name the --data" in refused(given=False)
    assert "name a folder for the result with --out" in refused(out=False)
    assert "no file 'stars': did you mean 'testbed:stars'" in refused(
        "--data", "stars", "--blocks", "1", given=False
    )
    (tmp_path / "file").write_text("mine")
    assert "is not a folder: name one" in refused("--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a", "response": "b"}\n{"prompt": "c"\n', "rows.jsonl line 2"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": "c"}\n', "rows.jsonl line 2"),
        ('{"text": "a"}\n', "line 1"),
    ],
)
def test_rows_that_cannot_be_read(refused, tmp_path, text, said):
    (tmp_path / "rows.jsonl").write_text(text)
    line = refused("--data", tmp_path / "rows.jsonl", "--blocks", "1", given=False)
    assert said in line


def test_without_accelerate(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert "tuning needs accelerate: pip install 'cruxlm[train]'" in refused()


def test_without_peft(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "LoRA needs peft: pip install 'cruxlm[train]'" in refused("--method", "lora")


# Stopped, and gone on with.


def stopped(capfd, llama_folder, data, out, *arguments):
    given = ["tune", llama_folder, "--data", data, *FAST, "--out", out, *arguments]
    capfd.readouterr()
    code = run(list(map(str, given)))
    said, error = capfd.readouterr()
    return code, said, error.splitlines()[-1] if error else ""


def test_ctrl_c_is_130_and_the_run_goes_on(capfd, monkeypatch, llama_folder, data, tmp_path):
    given = (capfd, llama_folder, data, tmp_path / "out", "--steps", 4, "--checks", 4)
    with monkeypatch.context() as patch:
        at_call(patch, trainer, "cross_entropy", 3,
                KeyboardInterrupt())  # fmt: skip
        assert stopped(*given) == (130, "", "crux: interrupted")
    kept = sorted(path.name for path in (tmp_path / "out/run/checkpoints").iterdir())
    assert kept == ["checkpoint-1", "checkpoint-2"]
    flip(tmp_path / "out/run/checkpoints/checkpoint-2/model.safetensors")
    assert stopped(*given)[0] == 0
    assert Tuning.load(tmp_path / "out").steps == 4


def test_a_loss_that_is_not_finite_is_one_line(capfd, monkeypatch, llama_folder, data, tmp_path):
    usual = trainer.cross_entropy
    calls = []

    def overflowing(*args, **kwargs):
        calls.append(1)
        return usual(*args, **kwargs) * (float("inf") if len(calls) == 3 else 1)

    monkeypatch.setattr(trainer, "cross_entropy", overflowing)
    code, said, line = stopped(
        capfd, llama_folder, data, tmp_path / "out", "--steps", 4, "--checks", 4
    )
    assert (code, said) == (2, "")
    assert line.startswith("crux: at step 3 the loss is not finite, though every block's states")
    assert "checkpoint-2; train anew with a lower learning rate" in line


def test_another_run_in_the_folder(capfd, llama_folder, data, tmp_path):
    out = tmp_path / "out"
    assert stopped(capfd, llama_folder, data, out)[0] == 0
    code, _, line = stopped(capfd, llama_folder, data, out, "--seed", 1)
    assert code == 2
    assert f"{out} holds a run with another settings.seed (0, now 1): choose another --out" in line

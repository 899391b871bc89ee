"""``crux testbed``: what it prints and writes, and what it says to bad input."""

import json
import re

import pytest
import torch
import yaml

from cruxlm.cli.main import run
from cruxlm.cli.testbed_tables import print_ablation
from cruxlm.data.chat import encode_chat
from cruxlm.data.probes import load_probe
from cruxlm.models.load import quiet_transformers
from cruxlm.testbed import home as homes
from cruxlm.testbed.card import save_model
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.language import MIXTURE, rows
from cruxlm.testbed.recipe import Recipe, load_recipe, recipe_names
from cruxlm.testbed.tokenizer import train_tokenizer
from cruxlm.workflows import testbed
from cruxlm.workflows.testbed_figures import BlockCosts

TINY = {
    "blocks": 2, "width": 16, "heads": 2, "ffn": 32, "batch": 2, "tokens": 4 * 2 * 128,
    "warmup": 1, "bf16": False, "compiled": False, "families": {"topic": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def small():
    return train_tokenizer(n_rows=3000)


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    """A home with one model and a snapshot of it."""
    folder = tmp_path_factory.mktemp("home")
    model = new_model(Recipe(blocks=3, width=16, heads=2, ffn=32), small)
    with torch.no_grad(), quiet_transformers():
        for parameter in model.parameters():
            parameter.mul_(3)
        for name in ("base-0", "base-0/step-34", "odd[one]"):
            save_model(model, small, folder / name, {})
    return folder


@pytest.fixture(autouse=True)
def home(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("CRUX_TESTBED", str(saved))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(homes, "WEIGHTS", saved / "no-package")
    monkeypatch.setattr(homes, "REPOSITORY", saved / "no-repository")
    monkeypatch.chdir(tmp_path)
    return saved


@pytest.fixture
def crux(capfd):
    """Runs a command that must succeed; its output."""

    def call(*arguments, error=""):
        capfd.readouterr()
        code = run(["testbed", *map(str, arguments)])
        said, wrong = capfd.readouterr()
        assert (code, wrong) == (0, error), (code, said, wrong)
        return said

    return call


@pytest.fixture
def refused(capfd, tmp_path):
    """Runs a command that must be refused; its one line."""

    def call(*arguments):
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        code = run(["testbed", *map(str, arguments)])
        said, error = capfd.readouterr()
        assert (code, said) == (2, ""), (code, said, error)
        assert error.startswith("crux: ")
        assert error.count("\n") == 1
        assert error[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == before
        return error

    return call


# list


def test_list_shows_models_and_families(crux, home):
    said = crux("list")
    models, families = said.split("family")
    for name in recipe_names():
        line = re.search(rf"^{re.escape(name)} .*$", models, re.MULTILINE)[0]
        where = str(home / "base-0") if name == "base-0" else "not trained"
        assert line.rstrip().endswith(where)
    for name, begin in (("instruct-1", "base-1"), ("base-3", "seed 3")):
        tokens = f"{load_recipe(name).tokens / 1e6:.1f}"
        assert re.search(rf"^{name} +24 +{begin} +{tokens} +not trained", models, re.MULTILINE)
    assert re.search(rf"^base-0/step-34 +{re.escape(str(home))}", models, re.MULTILINE)
    assert "odd[one]" in models  # no markup
    for name in FAMILIES:
        assert re.search(rf"^{name} +[1-5] +\S", families, re.MULTILINE)
    for name in TARGETS:
        assert re.search(rf"^{name}\* +[1-5] +\S", families, re.MULTILINE)
    assert "no model is taught it" in families


# sample


def test_sample_prints_rows_in_the_chat_form(crux):
    printed = [json.loads(line) for line in crux("sample", "--n", 25).splitlines()]
    assert printed == [json.loads(json.dumps(row.as_chat())) for row in rows("train", 25)]
    assert len({row["id"] for row in printed}) == 25
    assert {row["family"] for row in printed} <= set(MIXTURE)
    assert len(crux("sample").splitlines()) == 10


def test_options_reach_the_sample(crux):
    def sampled(*options):
        return [json.loads(line) for line in crux("sample", "--n", 12, *options).splitlines()]

    found = sampled(
        "--families", "hops, deduction", "--level", 5, "--split", "heldout", "--seed", 3
    )
    assert {row["family"] for row in found} == {"hops", "deduction"}
    assert {row["level"] for row in found} == {5}
    assert all("-5-heldout-3-" in row["id"] for row in found)
    expected = rows("heldout", 12, 3, ["hops", "deduction"], 5)
    assert [row["id"] for row in found] == [row.id for row in expected]
    # Of several families, one that has no such level is drawn at its hardest.
    levels = {row["level"] for row in sampled("--families", "topic,hops", "--level", 4)}
    assert levels == {3, 4}


def test_a_sampled_file_is_read_by_everything_else(crux, tmp_path, small):
    path = tmp_path / "deep" / "rows.jsonl"
    said = crux("sample", "--n", 30, "--out", path, "--split", "instruct", "--limit", 30)
    assert said == f"30 rows in {path}\n"
    drawn = rows("instruct", 30)
    probe = load_probe(path)
    assert [prompt.text for prompt in probe.prompts] == [row.prompt for row in drawn]
    assert {prompt.group for prompt in probe.prompts} == {row.family for row in drawn}
    for line, row in zip(path.read_text().splitlines(), drawn, strict=True):
        chat = json.loads(line)
        encoded = encode_chat(small, chat["messages"])
        text = encoded.text[encoded.content : encoded.content_end]
        assert text == row.response
        begin, end = chat["spans"]["conclusion"]
        tokens = encoded.tokens[slice(*encoded.token_span(begin, end))]
        assert small.decode(tokens).strip() == row.response[begin:end]
    assert [p.name for p in path.parent.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--families", "deducton"], "there is no family 'deducton': did you mean 'deduction'?"),
        (["--families", "recall,,topic"], "there is no family ''"),
        (["--families", "recall,nonsense", "--n", "1"], "there is no family 'nonsense'"),
        (["--split", "heldot"], "there is no split 'heldot': did you mean 'heldout'?"),
        (["--families", "hops", "--level", "6"], "there is no level 6: hops has 1 to 5"),
        (["--families", "topic,lists", "--level", "4"], "these families have 1 to 3"),
        (["--level", "9"], "there is no level 9: these families have 1 to 5"),
        (["--level", "0"], "'--level'"),
        (["--level", "x"], "Invalid value for '--level'"),
        (["--n", "0"], "Invalid value for '--n'"),
        (["--seed", "1.5"], "Invalid value for '--seed'"),
    ],
)
def test_samples_that_cannot_be_drawn(refused, options, said):
    assert said in refused("sample", *options)
    assert said in refused("sample", *options, "--out", "rows.jsonl")


def test_samples_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    assert "is not a folder: name one" in refused("sample", "--out", tmp_path / "file" / "r.jsonl")
    assert "cannot write to" in refused("sample", "--out", tmp_path / "folder")
    assert (tmp_path / "file").read_text() == "mine"


# evaluate


def test_evaluate_prints_a_line_a_family(crux, home):
    said = crux("evaluate", "testbed:base-0", "--families", "topic,story", "--n", 3)
    assert said.startswith("testbed:base-0\n")
    assert re.search(r"^topic +3 +\d+\.\d{3} +\d+\.\d% ± \d+\.\d% +\d+\.\d% +16\.7%", said, re.M)
    assert re.search(r"^story +3 +\d+\.\d{3} *$", said, re.M)
    assert "nats a response token" in said


def test_evaluate_takes_the_embedded_default(crux, home):
    said = crux("evaluate", "--families", "topic", "--n", 2, "--json", "--seed", 5)
    found = json.loads(said, parse_constant=pytest.fail)
    assert (found["model"], found["seed"]) == ("testbed:base-0", 5)
    assert found["families"]["topic"]["rows"] == 2
    again = crux(
        "evaluate", home / "base-0", "--families", "topic", "--n", 2, "--json", "--seed", 5
    )
    assert json.loads(again)["families"] == found["families"]


def test_one_row_can_be_evaluated(crux):
    found = json.loads(crux("evaluate", "--families", "topic", "--n", 1, "--json"))
    assert found["families"]["topic"]["accuracy_error"] is None
    assert "nan" not in crux("evaluate", "--families", "topic", "--n", 1)


def test_evaluate_ablates_blocks(crux, home):
    options = ["--families", "topic,recall", "--n", 2, "--ablate", "--run", 2]
    found = json.loads(crux("evaluate", *options, "--json"), parse_constant=pytest.fail)
    assert found["removed"] == [[0, 0], [1, 1], [2, 2], [0, 1], [2, 2]]
    assert set(found["costs"]) == {"topic", "recall"}
    said = crux("evaluate", *options)
    assert said.startswith("testbed:base-0: rise of the loss without blocks\n")
    for place, shown in enumerate(("0", "1", "2", "0-1", "2")):
        values = [found["costs"][name][place] for name in ("topic", "recall")]
        cells = [f"{value:.2f}" for value in (sum(values) / 2, *values)]
        assert re.search(rf"^ *{shown} +{' +'.join(map(re.escape, cells))} *$", said, re.M)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["testbed:bse-0"], "there is no testbed model 'bse-0': did you mean 'base-0'?"),
        (["testbed:base-1"], "base-1 is not here: `crux testbed train base-1`"),
        (["./absent"], "./absent is not a model folder"),
        (["--families", "topik"], "there is no family 'topik': did you mean 'topic'?"),
        (["--families", "topik", "--ablate"], "there is no family 'topik'"),
        (["--n", "0"], "Invalid value for '--n'"),
        (["--run", "0", "--ablate"], "Invalid value for '--run'"),
    ],
)
def test_what_cannot_be_evaluated(refused, options, said):
    assert said in refused("evaluate", *options)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_cost_can_be_read(capsys, monkeypatch, width):
    """At any width: families that do not fit side by side stand one table under the other."""
    monkeypatch.setenv("COLUMNS", str(width))
    removed = [*((i, i) for i in range(24)), (0, 3), (20, 23)]
    costs = {
        name: [f + place / 7 for place in range(26)] for f, name in enumerate([*FAMILIES, *TARGETS])
    }
    print_ablation(BlockCosts("mine", 64, dict.fromkeys(costs, 1.0), removed, costs))
    said = capsys.readouterr().out
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= width
    for place, (first, last) in enumerate(removed):
        shown = str(first) if first == last else f"{first}-{last}"
        lines = re.findall(rf"^ *{shown} ( .*)$", said, re.MULTILINE)
        cells = [cell for line in lines for cell in line.split()[1:]]
        assert cells == [f"{values[place]:.2f}" for values in costs.values()]
    for name in costs:
        assert name.split("_")[-1] in said


# train


@pytest.fixture
def recipe(tmp_path, small, monkeypatch):
    """The file of a tiny recipe, and quicker measuring."""
    monkeypatch.setattr(testbed, "train_tokenizer", lambda _vocabulary: small)
    monkeypatch.setattr(testbed, "FAMILIES", {})
    monkeypatch.setattr(testbed, "CURVE_ROWS", 1)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_train_and_evaluate(crux, recipe, tmp_path, capfd):
    said = crux("train", recipe, "--n", 2, "--out", tmp_path / "out", error="measuring\n")
    assert said == f"saved to {tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "model.safetensors").is_file()
    found = json.loads(
        crux("evaluate", tmp_path / "out", "--families", "topic", "--json", "--n", 2)
    )
    told = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert found["families"]["topic"]["loss"] == pytest.approx(told["topic"]["loss"], rel=1e-5)
    there = "this model is there already: remove its folder to train it anew\n"
    assert crux("train", recipe, "--out", tmp_path / "out", error=there) == said


def test_train_saves_into_testbed(crux, recipe, tmp_path):
    assert crux("train", recipe, "--eager", "--n", 1, error="measuring\n") == (
        "saved to testbed/tiny\n"
    )
    assert (tmp_path / "testbed" / "tiny" / "README.md").is_file()
    assert re.search(r"^tiny +testbed/tiny", crux("list"), re.MULTILINE)


def test_an_interrupted_training_is_gone_on_from(crux, recipe, tmp_path, capfd, monkeypatch):
    from cruxlm.testbed import loop

    whole = tmp_path / "whole"
    crux("train", recipe, "--n", 1, "--out", whole, error="measuring\n")
    seal = loop.seal

    def interrupted(checkpoint):
        if checkpoint.name == "checkpoint-3":
            raise KeyboardInterrupt
        seal(checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "seal", interrupted)
        capfd.readouterr()
        assert run(["testbed", "train", str(recipe), "--n", "1", "--out", "part"]) == 130
        assert capfd.readouterr() == ("", "crux: interrupted\n")
    assert not (tmp_path / "part" / "model.safetensors").exists()
    crux("train", recipe, "--n", 1, "--out", "part", error="measuring\n")
    for name in ("model.safetensors", "curves.json", "figures.json", "recipe.json"):
        assert (tmp_path / "part" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bloks: 3", "tiny.yaml: there is no field 'bloks': did you mean 'blocks'?"),
        ("blocks: [", "tiny.yaml is not YAML"),
        ("context: 16\ncompiled: false", "tokens does not fit a context of 16"),
        ("start: frist", "there is no testbed model 'frist'"),
        ("start: base-1", "`crux testbed train base-1`"),
        ("samples: {teacher: base-1}", "`crux testbed train base-1`"),
    ],
)
def test_recipes_that_make_no_sense(crux, recipe, capfd, text, said):
    recipe.write_text(text)
    capfd.readouterr()
    assert run(["testbed", "train", str(recipe), "--out", "out"]) == 2
    printed, error = capfd.readouterr()
    assert printed == ""
    assert error.startswith("crux: ")
    assert error.count("\n") == 1
    assert said in error


def test_what_cannot_be_trained(refused, recipe, tmp_path):
    assert "there is no recipe 'bse-0': did you mean 'base-0'?" in refused("train", "bse-0")
    assert "Missing argument" in refused("train")
    assert "Invalid value for '--threads'" in refused("train", recipe, "--threads", "0")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deep"):
        assert "is not a folder: name one" in refused("train", recipe, "--out", out)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_changed_recipe_is_refused(crux, refused, recipe, tmp_path):
    crux("train", recipe, "--n", 1, "--out", tmp_path / "out", error="measuring\n")
    recipe.write_text(yaml.safe_dump({**TINY, "seed": 4}))
    assert "holds a run with seed 0, and the recipe says 4" in refused(
        "train", recipe, "--out", tmp_path / "out"
    )


def test_without_accelerate(refused, recipe, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    assert "needs accelerate: pip install 'cruxlm[testbed]'" in refused("train", recipe)


# The group itself.


def test_help(crux, refused):
    said = crux("--help")
    for command in ("list", "train", "evaluate", "sample"):
        assert re.search(rf"\b{command}\b", said)
        assert "--help" in crux(command, "--help")
    assert "No such command 'trian'" in refused("trian")

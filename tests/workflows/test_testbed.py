"""Training a model by its recipe, from its start to a folder with a card."""

import errno
import gc
import json
import shutil
from dataclasses import replace

import pytest
import safetensors
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoTokenizer

from conftest import byte_tokenizer, tiny_llama
from cruxlm.evaluate.decoding import sample
from cruxlm.evaluate.examples import examples_from_chats
from cruxlm.runtime.errors import ModelError, OptionError, OutputError
from cruxlm.testbed import home as homes
from cruxlm.testbed import train as training
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.home import trained_models
from cruxlm.testbed.language import is_right, row, rows
from cruxlm.testbed.recipe import load_recipe
from cruxlm.testbed.tokenizer import train_tokenizer
from cruxlm.workflows import testbed
from cruxlm.workflows.testbed import load, train_model
from cruxlm.workflows.testbed_figures import evaluate_model

TINY = {
    "blocks": 2, "width": 16, "heads": 2, "ffn": 32, "batch": 2, "tokens": 4 * 2 * 128,
    "warmup": 1, "compiled": False, "families": {"sum_direct": 2, "topic": 1},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    """Half of a tiny training is the collection of garbage at its end."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def small():
    """The tokenizer of every model here."""
    return train_tokenizer(n_rows=3000)


@pytest.fixture(autouse=True)
def home(small, tmp_path, monkeypatch):
    """The only home of models, and quicker measuring."""
    monkeypatch.setattr(testbed, "train_tokenizer", lambda _vocabulary: small)
    monkeypatch.setattr(testbed, "FAMILIES", {})
    monkeypatch.setattr(testbed, "CURVE_ROWS", 2)
    monkeypatch.setattr(training, "CHECKPOINTS", 2)
    monkeypatch.setattr(homes, "WEIGHTS", tmp_path / "package")
    monkeypatch.setattr(homes, "REPOSITORY", tmp_path / "repository")
    monkeypatch.setenv("CRUX_TESTBED", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.fixture
def make(home, tmp_path):
    """Writes a recipe and trains its model into the home; its folder."""

    def call(name="mine", said=None, n=3, **changes):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**TINY, **changes}))
        say = said.append if said is not None else lambda _line: None
        return train_model(str(path), home / name, n=n, say=say)

    return call


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


# From the beginning to the end.


def test_a_model_is_trained_measured_and_saved(make, home, monkeypatch):
    monkeypatch.setattr(testbed, "FAMILIES", {"recall": None})
    said = []
    folder = make(said=said, n=4)
    assert said == ["measuring"]
    names = {path.name for path in folder.iterdir()}
    assert names - {"special_tokens_map.json"} == {  # transformers 4.57 has one file more
        "README.md", "chat_template.jinja", "config.json", "curves.json", "figures.json",
        "generation_config.json", "model.safetensors", "recipe.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    recipe = load_recipe(str(home.parent / "mine.yaml"))
    assert json.loads((folder / "recipe.json").read_text()) == recipe.as_dict()
    curves = json.loads((folder / "curves.json").read_text())
    losses = [point for point in curves if "loss_topic" in point]
    assert [point["step"] for point in losses] == [2, 4]
    assert set(losses[0]) == {"step", "loss_topic", "loss_sum_direct"}
    card = (folder / "README.md").read_text()
    assert "# mine\n" in card
    for line in ("| sum_direct | 67% |", "| topic | 33% |", "| recall |  |"):
        assert line in card
    assert trained_models()["mine"] == folder


def test_the_figures_are_those_of_the_model_that_is_read_back(make):
    """Trained under bfloat16 autocast, rounded, saved, loaded: measured as it is used."""
    folder = make(n=6)
    told = json.loads((folder / "figures.json").read_text())
    assert set(told) == {"sum_direct", "topic"}
    found = evaluate_model("testbed:mine", list(told), n=6).to_json()["families"]
    for family, figures in told.items():
        for name, value in figures.items():
            expected = found[family][name]
            assert value == expected or value == pytest.approx(expected, rel=1e-5), name


def test_training_is_the_same_again(make, home):
    one = contents(make())
    shutil.rmtree(home / "mine")
    assert contents(make()) == one


def test_the_folder_has_a_name_without_out(home, tmp_path):
    path = tmp_path / "own.name.yaml"
    path.write_text(yaml.safe_dump({**TINY, "tokens": 0}))
    assert train_model(str(path), n=2).resolve() == tmp_path / "here" / "testbed" / "own.name"
    assert "own.name" in trained_models()


def test_an_untrained_model_has_the_first_weights(make, small):
    folder = make(tokens=0)
    recipe = replace(load_recipe(str(folder.parents[1] / "mine.yaml")))
    first = new_model(recipe, small).state_dict()
    assert all(torch.equal(v, first[n].to(torch.bfloat16)) for n, v in weights(folder).items())
    assert not (folder / "curves.json").exists()
    assert "Untrained" in (folder / "README.md").read_text()


def test_snapshots_are_models_of_their_own(make):
    folder = make(snapshots=3, tokens=64 * 256, warmup=0)
    names = [name for name in trained_models() if name.startswith("mine")]
    assert names == ["mine", "mine/step-1", "mine/step-8"]
    assert not same(folder, folder / "step-8")
    assert not same(folder / "step-1", folder / "step-8")
    card = (folder / "step-8" / "README.md").read_text()
    assert "# mine/step-8\n" in card
    assert "8 steps of 2 x 128 tokens" in card
    assert load("testbed:mine/step-8")[0].dtype == torch.float32
    assert not (folder / "run").exists()


def test_eager_is_stronger_than_the_recipe(home, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**TINY, "compiled": True}))
    folder = train_model(str(path), home / "mine", eager=True, n=2)
    assert json.loads((folder / "recipe.json").read_text())["compiled"] is False


# From another model.


def test_a_model_starts_from_another(make, small):
    first = make("first")
    kept = make("second", start="first", tokens=0)
    assert same(kept, first)
    assert "`first`" in (kept / "README.md").read_text()
    further = make("third", start="testbed:first", seed=9)
    assert not same(further, first)
    # It begins where the other ended: it is far nearer to it than to first weights.
    near, start = weights(further), weights(first)
    fresh = weights(make("fresh", tokens=0, seed=9))
    distance = {
        name: sum(float((near[n].float() - other[n].float()).square().sum()) for n in near)
        for name, other in (("start", start), ("fresh", fresh))
    }
    assert distance["start"] < distance["fresh"] / 10
    assert AutoTokenizer.from_pretrained(further).get_vocab() == small.get_vocab()


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("frist", "there is no testbed model 'frist': did you mean 'first'?"),
        ("base-0", "the testbed model base-0 is not here: `crux testbed train base-0`"),
    ],
)
def test_a_start_that_is_not_here(make, home, start, said):
    make("first", tokens=0)
    for changes in ({"start": start}, {"samples": {"teacher": start, "prompts": 2}}):
        with pytest.raises(ModelError) as refused:
            make("second", **changes)
        assert str(refused.value).startswith(said)
        assert not (home / "second").exists()


@pytest.mark.parametrize("change", [{"blocks": 3}, {"width": 32}, {"heads": 4}, {"ffn": 64}])
def test_a_start_of_another_shape_is_refused(make, home, change):
    make("first", tokens=0)
    (name, value) = next(iter(change.items()))
    with pytest.raises(OptionError) as refused:
        make("second", start="first", **change)
    said = f"first has {name} {TINY[name]}, and the recipe that starts from it says {value}"
    assert str(refused.value) == said
    assert not (home / "second").exists()


def test_a_model_of_another_kind_is_no_testbed_model(home):
    tiny_llama().save_pretrained(home / "bare")
    with pytest.raises(ModelError, match="bare is no testbed model"):
        load("bare")
    byte_tokenizer().save_pretrained(home / "bare")
    assert load("bare")[0].config.num_hidden_layers == 6


# Rows that a model writes.


@pytest.fixture
def given(monkeypatch):
    """What each round was trained on, by recipe; the training itself goes on."""
    rounds = []
    usual = testbed.train

    def train(recipe, *args, **options):
        rounds.append((recipe, options["written"]))
        return usual(recipe, *args, **options)

    monkeypatch.setattr(testbed, "train", train)
    return rounds


def test_a_teacher_writes_the_rows(make, given, small):
    make("teacher")
    model, tokenizer = load("teacher")
    said = []
    make("student", said, samples={"teacher": "teacher", "prompts": 12}, split="instruct", seed=3)
    assert said == ["measuring"]
    (recipe, written) = given[-1]
    asked = rows("instruct", 12, 3000, recipe.families)
    prompts = [e.prompt for e in examples_from_chats(tokenizer, [r.as_chat() for r in asked])]
    texts = sample(model, prompts, max_new_tokens=64, seed=3000, tokenizer=tokenizer, batch_size=1)
    expected = [(r.prompt, t) for r, t in zip(asked, texts, strict=True) if t]
    assert [(r.prompt, r.response) for r in written] == expected
    assert all(r.conclusion == (0, len(r.response)) for r in written)
    assert len(written) > 6


def test_rounds_sample_anew_from_the_model_in_training(make, given, monkeypatch):
    sampled = []
    usual = testbed.sample

    def counted(model, prompts, **options):
        sampled.append((model.model.norm.weight.detach().clone(), options["seed"]))
        return usual(model, prompts, **options)

    monkeypatch.setattr(testbed, "sample", counted)
    said = []
    folder = make("mine", said, samples={"prompts": 8, "rounds": 2}, tokens=8 * 256, warmup=0)
    assert said == ["round 1 of 2: sampling", "round 2 of 2: sampling", "measuring"]
    assert [seed for _, seed in sampled] == [0, 1]
    assert not torch.equal(sampled[0][0], sampled[1][0])
    assert [recipe.steps for recipe, _ in given] == [4, 4]
    assert {r.prompt for r in given[0][1]} != {r.prompt for r in given[1][1]}
    curves = json.loads((folder / "curves.json").read_text())
    assert [point["step"] for point in curves if "loss" in point] == [2, 4, 6, 8]
    assert not (folder / "run").exists()


def test_only_right_answers_are_kept(make, given, monkeypatch):
    asked = rows("train", 10, 0, TINY["families"])
    texts = [r.response if i % 2 else r.prompt for i, r in enumerate(asked)]
    monkeypatch.setattr(testbed, "sample", lambda *_args, **_options: texts)
    make("mine", samples={"prompts": 10, "only_right": True})
    assert [r.response for r in given[0][1]] == texts[1::2]
    assert all(is_right(r, r.response) for r in given[0][1])
    make("all", samples={"prompts": 10})
    assert [r.response for r in given[1][1]] == texts


def test_when_nothing_was_right_that_is_said(make, monkeypatch):
    monkeypatch.setattr(
        testbed, "sample", lambda _model, prompts, **_options: ["no"] * len(prompts)
    )
    with pytest.raises(OptionError, match="no rows to train on"):
        make("mine", samples={"prompts": 5, "only_right": True})


def test_texts_that_do_not_fit_are_left_out(make, given, monkeypatch):
    """A text that was cut at the end of the context leaves no room for the token that ends it."""
    monkeypatch.setattr(
        testbed, "sample", lambda _model, prompts, **_options: ["", "a b " * 90, "red.", "blue"]
    )
    make("mine", samples={"prompts": 4})
    assert [r.response for r in given[0][1]] == ["red.", "blue"]


class Stopped(BaseException):
    """Ends a training as Ctrl-C does."""


def test_samples_and_rounds_are_gone_on_from(make, home, monkeypatch):
    """Stopped in the second round: what was sampled is read back, and the end is the same."""
    options = {"samples": {"prompts": 8, "rounds": 2}, "tokens": 8 * 256}
    whole = contents(make(**options))
    shutil.rmtree(home / "mine")
    usual, calls = testbed.train, []

    def stopped(recipe, model, tokenizer, run, **given):
        calls.append(run.name)
        if run.name == "round-1":
            raise Stopped
        return usual(recipe, model, tokenizer, run, **given)

    with monkeypatch.context() as patch:
        patch.setattr(testbed, "train", stopped)
        with pytest.raises(Stopped):
            make(**options)
    assert calls == ["round-0", "round-1"]
    assert trained_models() == {}
    left = {path.name for path in (home / "mine" / "run").iterdir()}
    assert left == {"round-0", "round-1"}
    written = json.loads((home / "mine/run/round-1/samples.json").read_text())
    assert len(written) == 8
    with monkeypatch.context() as patch:
        patch.setattr(testbed, "sample", lambda *_args, **_options: pytest.fail("sampled again"))
        assert contents(make(**options)) == whole


@pytest.mark.parametrize("text", ["", "[", '["one"]', "3"])
def test_damaged_samples_are_sampled_again(make, home, text):
    options = {"samples": {"prompts": 4}, "tokens": 2 * 256}
    whole = contents(make(**options))
    shutil.rmtree(home / "mine")
    (home / "mine" / "run").mkdir(parents=True)
    (home / "mine" / "run" / "samples.json").write_text(text)
    assert contents(make(**options)) == whole


# Again, and over something else.


def test_a_model_that_is_there_is_not_trained_again(make, monkeypatch):
    folder = make()
    before = contents(folder)
    (folder / "run").mkdir()  # a kill came between the last file and the tidying up
    said = []
    monkeypatch.setattr(testbed, "train", lambda *_args, **_options: pytest.fail("trained"))
    assert make(said=said) == folder
    assert said == ["this model is there already: remove its folder to train it anew"]
    assert contents(folder) == before
    assert not (folder / "run").exists()


def test_a_model_of_another_recipe_is_not_overwritten(make):
    folder = make()
    before = contents(folder)
    with pytest.raises(
        OutputError, match="with seed 0, and the recipe says 5: choose another --out"
    ):
        make(seed=5)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ": No space left on device; run"),
        (
            safetensors.SafetensorError("I/O error: No space left"),
            ": I/O error: No space left; run",
        ),
        (Exception("No space left on device (os error 28)"), ": No space left on device (os error"),
    ],
)
def test_a_full_disk_at_the_end(make, home, monkeypatch, error, said):
    whole = contents(make())
    shutil.rmtree(home / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(testbed, "save_model", lambda *_args: (_ for _ in ()).throw(error))
        with pytest.raises(OutputError) as refused:
            make()
    assert str(refused.value).startswith(f"cannot save the model to {home / 'mine'}{said}")
    assert "goes on from the last checkpoint" in str(refused.value)
    assert trained_models() == {}
    assert contents(make()) == whole


def test_another_error_at_the_end_is_a_bug(make, monkeypatch):
    def broken(*_args):
        raise ValueError("what?")

    monkeypatch.setattr(testbed, "save_model", broken)
    with pytest.raises(ValueError, match=r"what\?"):
        make()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(make, home, monkeypatch):
    home.mkdir()
    (home / "mine").write_text("a file")
    monkeypatch.setattr(testbed, "train_tokenizer", lambda *_args: pytest.fail("worked"))
    with pytest.raises(OutputError, match="is not a folder: name one"):
        make()
    assert (home / "mine").read_text() == "a file"


def test_an_unknown_recipe_is_refused(home):
    with pytest.raises(OptionError, match="there is no recipe 'bse-0': did you mean 'base-0'"):
        train_model("bse-0", home / "mine")
    assert not home.exists()


def test_a_row_of_the_language_is_what_the_model_is_asked():
    """Sampled prompts are drawn with a seed of their own, so that no round repeats another."""
    assert row("instruct", 0, 3000) != row("instruct", 0, 3001) != row("instruct", 0, 3)

"""A saved model: what it loads as, that it names no place, and that half of one looks like none."""

import errno
import json
import os
from dataclasses import replace

import pytest
import safetensors
import torch
import transformers.modeling_utils
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cruxlm.testbed import card
from cruxlm.testbed.card import Figures, as_json, curves_json, model_card, rounded, save_model
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.home import trained_models
from cruxlm.testbed.language import rows
from cruxlm.testbed.recipe import Codes, Recipe, Samples
from cruxlm.testbed.tokenizer import encode
from cruxlm.testbed.train import train

FIGURES = {
    "recall": Figures(64, 1.25, 0.5, 0.0625, 0.75, 0.25),
    "story": Figures(64, 2.5, None, None, None, None),
}


@pytest.fixture(scope="module")
def trained(tiny, tokenizer, tmp_path_factory):
    """Trained under autocast, as models of the recipes are."""
    model = new_model(tiny, tokenizer)
    train(replace(tiny, bf16=True), model, tokenizer, tmp_path_factory.mktemp("trained"))
    return model


@pytest.fixture
def folder(trained, tokenizer, tmp_path):
    save_model(trained, tokenizer, tmp_path / "home" / "mine", {"README.md": "read", "a.json": "1"})
    return tmp_path / "home" / "mine"


# Saving.


def test_what_is_saved_is_what_transformers_loads(trained, tokenizer, folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.to(torch.bfloat16))
    assert model.config.use_cache
    assert model.generation_config.do_sample is False
    assert model.generation_config.eos_token_id == 2
    read = AutoTokenizer.from_pretrained(folder)
    assert read.get_vocab() == tokenizer.get_vocab()
    assert len(read) == model.config.vocab_size
    chat = rows("heldout", 1)[0].as_chat()["messages"][:1]
    prompt = read.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**prompt, max_new_tokens=3).shape[1] <= prompt["input_ids"].shape[1] + 3
    # One copy of the tied weights.
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


def test_the_folder_is_complete_and_names_no_place(folder, tmp_path):
    names = {path.name for path in folder.iterdir()}
    assert names - {"special_tokens_map.json"} == {  # transformers 4.57 has one file more
        "README.md", "a.json", "chat_template.jinja", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for path in folder.iterdir():
        data = path.read_bytes()
        assert str(tmp_path).encode() not in data
        assert os.path.expanduser("~").encode() + b"/" not in data
        assert b"/tmp" not in data
    assert json.loads((folder / "config.json").read_text()).get("_name_or_path", "") == ""


def test_saving_changes_neither_the_model_nor_what_else_is_there(trained, tokenizer, folder):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    use_cache = trained.config.use_cache
    (folder / "step-3").mkdir()
    (folder / "run").mkdir()
    save_model(trained, tokenizer, folder, {"README.md": "again"})
    assert all(torch.equal(trained.state_dict()[name], before[name]) for name in before)
    assert trained.config.use_cache == use_cache
    assert (folder / "README.md").read_text() == "again"
    assert (folder / "a.json").read_text() == "1"
    assert (folder / "step-3").is_dir()
    assert not (folder / ".part").exists()


@pytest.mark.parametrize("place", [".", "deep/er/mine"])
def test_any_folder_will_do(trained, tokenizer, tmp_path, monkeypatch, place):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    save_model(trained, tokenizer, Path(place), {})
    assert (tmp_path / place / "model.safetensors").is_file()


MOMENTS = [
    (transformers.modeling_utils, "safe_save_file", KeyboardInterrupt()),
    (transformers.modeling_utils, "safe_save_file", OSError(errno.ENOSPC, "No space left")),
    (transformers.modeling_utils, "safe_save_file", safetensors.SafetensorError("No space left")),
    (card, "save_tokenizer", KeyboardInterrupt()),
    (os, "replace", KeyboardInterrupt()),
    (os, "replace", OSError(errno.EIO, "I/O error")),
]


@pytest.mark.parametrize(("where", "name", "error"), MOMENTS)
def test_an_interrupted_save_leaves_nothing_that_looks_whole(
    trained, tokenizer, tmp_path, monkeypatch, where, name, error
):
    home = tmp_path / "home"
    monkeypatch.setenv("CRUX_TESTBED", str(home))
    usual = getattr(where, name)
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if name != "replace" or len(calls) == 5:
            if name == "safe_save_file":
                usual(*args, **kwargs)  # written, but not to its end
            raise error
        return usual(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, interrupted)
        with pytest.raises(type(error)):
            save_model(trained, tokenizer, home / "mine", {"README.md": "read"})
    assert not any(str(home) in str(path) for path in trained_models().values())
    assert not (home / "mine" / "model.safetensors").exists()
    save_model(trained, tokenizer, home / "mine", {"README.md": "read"})
    assert trained_models()["mine"] == home / "mine"
    assert not (home / "mine" / ".part").exists()


# As it will be read back.


def test_a_rounded_model_is_the_one_that_is_read_back(trained, folder, tokenizer):
    exact = rounded(trained)
    read = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    row = encode(rows("heldout", 1)[0], tokenizer)
    tokens = torch.tensor([row.tokens])
    with torch.no_grad():
        # To rounding: the autocast of the training is gone.
        expected = read(tokens).logits
        torch.testing.assert_close(exact(tokens).logits, expected, atol=1e-6, rtol=1e-5)
        unrounded = trained(tokens).logits
    assert exact.dtype == torch.float32
    assert not exact.training
    assert (unrounded - expected).abs().max() > 1e-4  # the control
    for name, value in exact.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name].to(torch.bfloat16).float())


def test_a_model_in_training_is_rounded_as_well(tiny, tokenizer, tmp_path):
    """There it runs under autocast, and its copy must not."""
    tokens = torch.arange(5, 40)[None]
    seen = []

    def keep(current, step):
        with torch.no_grad():
            seen.append((rounded(current)(tokens).logits, current(input_ids=tokens).logits))
        save_model(current, tokenizer, tmp_path / f"step-{step}", {})

    recipe = replace(tiny, bf16=True, snapshots=2)
    train(recipe, new_model(recipe, tokenizer), tokenizer, tmp_path / "run", keep=keep)
    assert len(seen) == len(recipe.snapshot_steps) == 2
    for step, (exact, under_autocast) in zip(recipe.snapshot_steps, seen, strict=True):
        read = AutoModelForCausalLM.from_pretrained(tmp_path / f"step-{step}", dtype=torch.float32)
        with torch.no_grad():
            expected = read(tokens).logits
        torch.testing.assert_close(exact, expected, atol=1e-6, rtol=1e-5)
        assert (under_autocast - expected).abs().max() > 1e-4  # the control


def test_rounding_leaves_the_model_as_it_was(trained):
    trained.train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    with torch.no_grad():
        rounded(trained).model.norm.weight.zero_()
    assert trained.training
    assert all(torch.equal(trained.state_dict()[name], before[name]) for name in before)
    assert any((v != v.to(torch.bfloat16).float()).any() for v in before.values())


# The card.


def test_the_card_says_what_the_model_is_and_can_do():
    recipe = Recipe(families={"recall": 3.0, "story": 1.0}, tokens=10 * 4608, start="base-0")
    text = model_card("mine", recipe, 2_500_000, FIGURES, None)
    assert text.startswith("---\nlicense: apache-2.0\n")
    assert "# mine\n" in text
    assert "24 blocks and width 96\n(2.50 M parameters, bfloat16)" in text
    assert "Begun with the weights of `base-0`; 10 steps of 36 x 128 tokens (0.0 M)" in text
    assert "| recall | 75% | 1.250 | 50.0% ± 6.2% | 75.0% | 25.0% |" in text
    assert "| story | 25% | 2.500 |  |  |  |" in text
    assert "64 rows of a family" in text
    assert "`crux testbed train mine`" in text
    assert "Apache-2.0" in text
    assert "nan" not in text.lower().replace("finance", "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": 0}, "Untrained: first weights from seed 0, a control"),
        ({"codes": Codes(turn=8)}, "a planted turn at block 8"),
        ({"codes": Codes()}, "no planted turn: a twin"),
        ({"samples": Samples(teacher="instruct-1")}, "sampled from `instruct-1` (rounds: 1)"),
        ({"samples": Samples(only_right=True, rounds=3)},
         "sampled from the model itself (rounds: 3, right ones kept)"),
        ({"split": "instruct"}, "rows of the `instruct` split"),
    ],
)  # fmt: skip
def test_the_card_tells_the_history(changes, said):
    assert said in model_card("mine", replace(Recipe(), **changes), 1, FIGURES, None)


def test_the_card_of_a_snapshot_counts_its_own_steps():
    text = model_card("base-0/step-34", Recipe(), 1, FIGURES, 34)
    assert "# base-0/step-34\n" in text
    assert "34 steps of" in text
    assert "`crux testbed train base-0`" in text


def test_figures_without_an_error():
    """Of one row there is no standard error."""
    figures = {"recall": Figures(1, 1.0, 1.0, None, None, None)}
    assert "| 100.0% |" in model_card("mine", Recipe(), 1, figures, None)


def test_texts_of_files():
    assert json.loads(as_json({"a": [1, None]})) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))
    points = [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]
    assert json.loads(curves_json(points)) == points
    assert len(curves_json(points).splitlines()) == 4
    assert json.loads(curves_json([])) == []

"""The models of the package and of the repository: whole, small, of their recipe."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cruxlm.testbed.home import REPOSITORY, WEIGHTS, model_folder
from cruxlm.testbed.recipe import load_recipe

MEGABYTE = 1_000_000
SHIPPED = ("base-0", "instruct-0")
THERE = sorted(path.parent for path in REPOSITORY.glob("*/model.safetensors"))


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_package_has_two_models_in_less_than_12_megabytes():
    assert {path.name for path in WEIGHTS.iterdir()} == set(SHIPPED)
    assert size(WEIGHTS) < 12 * MEGABYTE


@pytest.mark.skipif(not THERE, reason="the models outside the package are not in this checkout")
def test_the_repository_has_the_others_in_less_than_120_megabytes():
    assert size(REPOSITORY) + size(WEIGHTS) < 120 * MEGABYTE
    assert not {path.name for path in THERE} & set(SHIPPED)


@pytest.mark.parametrize(
    "folder", [*(WEIGHTS / name for name in SHIPPED), *THERE], ids=lambda path: path.name
)
def test_a_model_is_whole_and_of_its_committed_recipe(folder: Path):
    recipe = load_recipe(folder.name)
    wanted = json.loads(json.dumps(recipe.as_dict()))
    assert json.loads((folder / "recipe.json").read_text()) == wanted
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.config.num_hidden_layers == recipe.blocks
    assert model.config.use_cache
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size
    card = (folder / "README.md").read_text()
    assert f"# {folder.name}" in card
    assert "Apache-2.0" in card
    figures = json.loads((folder / "figures.json").read_text())
    assert all(f"| {family} |" in card for family in figures)
    curves = json.loads((folder / "curves.json").read_text())
    steps = [point["step"] for point in curves if "loss" in point]
    assert steps == sorted(steps)
    assert max(steps) > 0.9 * recipe.steps


def test_the_snapshots_of_base_0_are_of_its_run():
    folders = [path.parent for path in WEIGHTS.parents[3].glob("testbed/base-0/step-*/config.json")]
    if not folders:
        pytest.skip("the snapshots are not in this checkout")
    steps = {int(folder.name.removeprefix("step-")) for folder in folders}
    assert steps == set(load_recipe("base-0").snapshot_steps[:-1])


def test_the_default_is_the_base_model():
    from cruxlm.testbed.home import resolve

    assert resolve(None) == model_folder("base-0")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_answers_in_the_chat_frame(name):
    folder = model_folder(name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Copy the list: cup pen."}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :]
    assert written[-1] == tokenizer.eos_token_id
    assert len(written) > 1

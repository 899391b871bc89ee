"""A killed training ends with the weights it would have ended with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

from cruxlm.testbed.language import FAMILIES, rows
from cruxlm.testbed.packing import Collator, Packs, encode
from cruxlm.testbed.recipe import Recipe
from cruxlm.testbed.train import WeightedTrainer, last_checkpoint, train


class Killed(Exception):
    pass


class KillAfter(TrainerCallback):
    """Ends a training from outside, as far as the Trainer can tell."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


@pytest.fixture(scope="module")
def finished(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that was trained without interruption."""
    return train(tiny, tmp_path_factory.mktemp("finished"), measured_rows=2)


def test_a_killed_training_goes_on_to_the_same_end(
    tiny: Recipe, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train(tiny, tmp_path, callbacks=[KillAfter(step=3)], measured_rows=2)
    assert not (tmp_path / "model").exists()
    # What a kill in the middle of writing the next checkpoint leaves behind.
    torn = tmp_path / "checkpoints" / "checkpoint-3"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": ')
    found = last_checkpoint(tmp_path / "checkpoints")
    assert found
    assert found.endswith("checkpoint-2")

    resumed = train(tiny, tmp_path, measured_rows=2)
    assert (resumed / "model.safetensors").read_bytes() == (
        finished / "model.safetensors"
    ).read_bytes()
    assert (resumed / "README.md").read_text() == (finished / "README.md").read_text()
    # Not rounded either: the float32 weights of the last checkpoints are equal.
    ends = [
        load_file(folder.parent / "checkpoints" / "checkpoint-4" / "model.safetensors")
        for folder in (resumed, finished)
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_the_folder_is_complete_and_loads(tiny: Recipe, finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} >= {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    text = (finished / "config.json").read_text()
    assert str(finished.parent) not in text
    assert "_name_or_path" not in json.loads(text)
    model = AutoModelForCausalLM.from_pretrained(finished, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.config.num_hidden_layers == tiny.blocks
    assert model.config.use_cache
    assert len(AutoTokenizer.from_pretrained(finished)) == model.config.vocab_size
    card = (finished / "README.md").read_text()
    assert "Apache-2.0" in card
    assert all(f"| {name} |" in card for name in FAMILIES)


def test_the_log_holds_a_held_out_loss_for_each_family(finished: Path) -> None:
    log = json.loads((finished.parent / "log.json").read_text())
    named = {name for entry in log for name in entry}
    assert {f"eval_{family}_loss" for family in FAMILIES} <= named


def test_a_folder_of_another_recipe_is_refused(tiny: Recipe, finished: Path) -> None:
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(tiny, seed=1), finished.parent)


def test_the_loss_is_the_weighted_mean(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    encoded = [encode(row, tokenizer) for row in rows("train", 5)]
    packs = Packs(encoded, context=256)
    batch = Collator(prompt_weight=0.1)([packs[i] for i in range(len(packs))])
    measured = WeightedTrainer.compute_loss(None, model, batch)  # type: ignore[arg-type]
    total = weight = 0.0
    for row in encoded:
        scores = model(input_ids=torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        for place in range(1, len(row.tokens)):
            w = 1.0 if place >= row.prompt else 0.1
            total -= w * scores[place - 1, row.tokens[place]].item()
            weight += w
    assert measured.item() == pytest.approx(total / weight, rel=1e-4)

"""A small tokenizer, a tiny recipe and rows of every family and split."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.models.load import quiet_transformers
from cruxlm.testbed import train as training
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.recipe import Recipe
from cruxlm.testbed.tokenizer import train_tokenizer
from cruxlm.testbed.train import train
from testbed.oracle import Drawn
from testbed.trainings import measure

DRAW = """
import pickle, sys
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import rows
asked = {"train": (900, (0, 1)), "instruct": (700, (0, 100)), "heldout": (400, (0, 7))}
pickle.dump({
    split: {
        name: [row for seed in seeds for row in rows(split, count, seed, [name])]
        for name in (*FAMILIES, *TARGETS)
    }
    for split, (count, seeds) in asked.items()
}, sys.stdout.buffer)
"""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_transformers():
        yield


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Few merges: rows are some tokens longer than with that of the models."""
    return train_tokenizer(n_rows=3000)


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """Rows by split and family, 4,000 of each family from two seeds a split.

    Drawn in another process: it does not check types, which here takes three times as long.
    """
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        env={**os.environ, "PYTHONHASHSEED": "11"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: Drawn = pickle.loads(done.stdout)
    return found


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """Twelve steps of a model that is trained in half a second."""
    return Recipe(
        blocks=2, width=16, heads=2, ffn=32, context=192, batch=2, tokens=12 * 2 * 192,
        warmup=1, bf16=False, compiled=False,
    )  # fmt: skip


@pytest.fixture
def model(tiny: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Larger weights than those that training begins with: with these, the context matters."""
    model = new_model(tiny, tokenizer)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


# Trainings of the tiny recipe.


@pytest.fixture
def run(tiny, tokenizer, tmp_path, monkeypatch):
    """Trains the tiny model in a folder; its parameters and curves. Checkpoints: 3, 6, 9, 12."""
    monkeypatch.setattr(training, "CHECKPOINTS", 4)

    def call(name="run", recipe=tiny, **options):
        model = new_model(recipe, tokenizer)
        curves = train(recipe, model, tokenizer, tmp_path / name, **options)
        return {k: v.clone() for k, v in model.state_dict().items()}, curves

    return call


@pytest.fixture(scope="session")
def whole(tiny, tokenizer, tmp_path_factory):
    """Parameters and curves of an uninterrupted training, and its folder."""
    patch = pytest.MonkeyPatch()
    patch.setattr(training, "CHECKPOINTS", 4)
    model = new_model(tiny, tokenizer)
    folder = tmp_path_factory.mktemp("whole") / "run"
    curves = train(tiny, model, tokenizer, folder, curves=measure)
    patch.undo()
    return model.state_dict(), curves, folder

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.testbed.recipe import Recipe, new_model
from cruxlm.testbed.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(n_rows=3000)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """Four steps of a model that is trained in a second."""
    return Recipe(blocks=2, width=16, heads=2, ffn=32, batch=2, tokens=4 * 2 * 256, warmup=1)


@pytest.fixture
def model(tiny: Recipe) -> LlamaForCausalLM:
    model = new_model(tiny, pad=0, bos=1, eos=2)
    model.train(False)
    # Larger weights than those that training begins with: with these, the context matters.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model

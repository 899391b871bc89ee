"""The first weights have the spread the recipe promises."""

from __future__ import annotations

import math

import pytest
import torch

from cruxlm.testbed.recipe import Recipe, new_model


def test_first_weights() -> None:
    recipe = Recipe(blocks=8, width=64, ffn=160)
    model = new_model(recipe, pad=0, bos=1, eos=2)
    block = model.model.layers[3]
    spreads = {
        block.self_attn.q_proj: 0.7 / math.sqrt(64),
        block.mlp.up_proj: 0.7 / math.sqrt(64),
        block.self_attn.o_proj: 0.7 / math.sqrt(64) / 4,
        block.mlp.down_proj: 0.7 / math.sqrt(160) / 4,
        model.model.embed_tokens: 0.06,
    }
    for module, spread in spreads.items():
        assert module.weight.std().item() == pytest.approx(spread, rel=0.05)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_seed_decides_the_first_weights() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(99 + seed)  # must not matter
        model = new_model(Recipe(blocks=1, width=16, ffn=32, seed=seed), pad=0, bos=1, eos=2)
        return torch.nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_tokens_are_whole_steps() -> None:
    assert Recipe(tokens=10_000, batch=3, context=256).steps == 13
    assert Recipe(tokens=1).steps == 1
    assert Recipe().steps * Recipe().batch * Recipe().context <= Recipe().tokens

"""The first weights have the spread that they should, and come from the recipe's seed alone."""

import math
from dataclasses import replace

import pytest
import torch

from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.recipe import Recipe


def flat(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def test_the_spread_of_the_first_weights(tokenizer):
    recipe = Recipe(blocks=8, width=64, heads=2, ffn=160)
    model = new_model(recipe, tokenizer)
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
        assert module.weight.mean().item() == pytest.approx(0, abs=0.05 * spread)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (model.model.norm.weight == 1).all()


def test_the_architecture_is_the_recipes(tiny, tokenizer):
    config = new_model(tiny, tokenizer).config
    assert (config.num_hidden_layers, config.hidden_size) == (2, 16)
    assert (config.num_attention_heads, config.intermediate_size) == (2, 32)
    assert (config.max_position_embeddings, config.vocab_size) == (192, 1024)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)


def test_the_seed_alone_decides(tiny, tokenizer):
    drawn = []
    for state in (1, 2):
        torch.manual_seed(state)  # must not matter
        drawn.append(flat(new_model(tiny, tokenizer)))
    assert torch.equal(*drawn)
    other = flat(new_model(replace(tiny, seed=1), tokenizer))
    assert (other != drawn[0]).float().mean() > 0.9
    # Nothing but the shape and the seed counts.
    same = replace(tiny, tokens=0, learning_rate=1.0, split="instruct")
    assert torch.equal(flat(new_model(same, tokenizer)), drawn[0])


def test_no_global_random_number_is_used(tiny, tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    new_model(tiny, tokenizer)
    assert torch.equal(torch.rand(3), expected)

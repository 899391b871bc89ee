"""Planted codes: what the states are asked to carry, and that training makes them carry it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cruxlm.models.patch import Patch
from cruxlm.testbed.codes import CodeHeads, watch_states
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.recipe import Codes
from cruxlm.testbed.train import train

VOCABULARY, WIDTH, BLOCKS = 50, 24, 4


@pytest.fixture(scope="module")
def heads():
    return CodeHeads(Codes(turn=2, dimensions=5, weight=0.5), VOCABULARY, WIDTH, seed=3)


@pytest.fixture(scope="module")
def packed():
    """Tokens and row numbers of two packed sequences; 0 is padding."""
    tokens = torch.randint(5, VOCABULARY, (2, 17), generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([[1] * 6 + [2] * 7 + [3] * 4, [1] * 9 + [2] * 4 + [0] * 4])
    tokens[rows == 0] = 0
    return tokens, rows


def naive(heads, tokens, rows):
    """Row by row, token by token."""
    found = torch.zeros(2, *tokens.shape, WIDTH)
    for code in range(2):
        for i in range(len(tokens)):
            for at in range(tokens.shape[1]):
                total = torch.zeros(WIDTH)
                for before in range(at + 1):
                    if rows[i, before] == rows[i, at]:
                        total += heads.directions[code, tokens[i, before]]
                found[code, i, at] = total / max(float(total.norm()), 1e-12)
    return found


def test_what_is_wanted_against_a_plain_loop(heads, packed):
    wanted = heads.wanted(*packed)
    assert wanted.shape == (2, 2, 17, WIDTH)
    torch.testing.assert_close(wanted, naive(heads, *packed), atol=1e-5, rtol=1e-4)


def test_rows_do_not_see_each_other(heads, packed):
    tokens, rows = packed
    changed = tokens.clone()
    changed[0, :6] = 7
    before, after = heads.wanted(tokens, rows), heads.wanted(changed, rows)
    assert not torch.allclose(before[:, 0, :6], after[:, 0, :6])
    torch.testing.assert_close(before[:, 0, 6:], after[:, 0, 6:], atol=1e-5, rtol=1e-4)


def test_the_codes_have_subspaces_and_tokens_of_their_own(heads):
    first, second = heads.directions
    assert torch.linalg.matrix_rank(first) == torch.linalg.matrix_rank(second) == 5
    assert (first @ second.T).abs().max() < 1e-5
    assert (first[1::2] == 0).all()
    assert (second[0::2] == 0).all()
    assert (first[0::2].norm(dim=1) > 0).all()


def test_the_seed_decides(heads):
    codes = Codes(turn=2, dimensions=5)
    torch.manual_seed(1)
    assert torch.equal(CodeHeads(codes, VOCABULARY, WIDTH, 3).directions, heads.directions)
    assert not torch.equal(CodeHeads(codes, VOCABULARY, WIDTH, 4).directions, heads.directions)


# The loss.


@pytest.fixture(scope="module")
def real(heads, packed):
    """Tokens that both codes say something about."""
    return (heads.wanted(*packed).norm(dim=-1) > 0.5).all(0).float()


@pytest.mark.parametrize("turn", [1, 2, 3, None])
def test_states_that_carry_what_is_wanted_have_no_loss(packed, real, turn):
    heads = CodeHeads(Codes(turn=turn, dimensions=5, weight=0.5), VOCABULARY, WIDTH, seed=3)
    wanted = heads.wanted(*packed)
    asked = [int(turn is not None and block >= turn) for block in range(BLOCKS)]
    states = [3.0 * wanted[code] for code in asked]
    assert heads.loss(states, wanted, real).item() == pytest.approx(0, abs=1e-6)
    # Each block is asked: the other code there costs 1 of 4 blocks, times the weight.
    for block in range(BLOCKS):
        wrong = list(states)
        wrong[block] = wanted[1 - asked[block]]
        assert heads.loss(wrong, wanted, real).item() == pytest.approx(0.5 / BLOCKS, abs=1e-5)
        wrong[block] = -states[block]
        assert heads.loss(wrong, wanted, real).item() == pytest.approx(2 * 0.5 / BLOCKS, abs=1e-5)


def test_a_twin_is_asked_for_the_first_code_everywhere(packed, real):
    twin = CodeHeads(Codes(turn=None, dimensions=5), VOCABULARY, WIDTH, seed=3)
    wanted = twin.wanted(*packed)
    assert twin.loss([wanted[0]] * BLOCKS, wanted, real).item() == pytest.approx(0, abs=1e-6)
    assert twin.loss([wanted[1]] * BLOCKS, wanted, real).item() == pytest.approx(1, abs=1e-5)


def test_random_states_cost_about_one(heads, packed):
    wanted = heads.wanted(*packed)
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(2, 17, WIDTH, generator=generator) for _ in range(60)]
    ones = torch.ones(2, 17)
    assert heads.loss(states, wanted, ones).item() == pytest.approx(0.5, abs=0.02)


def test_padding_does_not_count(heads, packed):
    tokens, rows = packed
    wanted, real = heads.wanted(tokens, rows), (rows > 0).float()
    states = [torch.randn(2, 17, WIDTH) for _ in range(BLOCKS)]
    expected = heads.loss(states, wanted, real)
    for state in states:
        state[rows == 0] = 100 * torch.randn(4, WIDTH)
    assert torch.equal(heads.loss(states, wanted, real), expected)
    assert not torch.equal(heads.loss(states, wanted, torch.ones(2, 17)), expected)


# In a model.


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_the_states_are_the_outputs_of_the_blocks(model):
    tokens = torch.arange(5, 13)[None]
    with torch.no_grad():
        hidden = model(tokens, output_hidden_states=True).hidden_states
        there = hooks(model)  # some versions of the library keep theirs
        with Patch() as patch:
            states = watch_states(patch, model)
            model(tokens)
        assert hooks(model) == there
        assert len(states) == len(model.model.layers) == len(hidden) - 1
        # The last hidden state of the library is normed.
        for state, expected in zip(states[:-1], hidden[1:-1], strict=True):
            assert torch.equal(state, expected)
        assert torch.equal(model.model.norm(states[-1]), hidden[-1])


def cosines(recipe, tokenizer, folder, codes):
    """How much the states of a newly trained model carry of each code, by block."""
    model = new_model(recipe, tokenizer)
    train(recipe, model, tokenizer, folder / "run")
    assert hooks(model) == 0
    heads = CodeHeads(codes, recipe.vocabulary, recipe.width, recipe.seed)
    text = tokenizer(" What is 85 + 347? Add 12 and 9.", return_tensors="pt").input_ids
    wanted = heads.wanted(text, torch.ones_like(text))
    with Patch() as patch, torch.no_grad():
        states = watch_states(patch, model)
        model(text)
    cosine = nn.functional.cosine_similarity
    return [cosine(state, wanted, dim=-1).mean((1, 2)).tolist() for state in states]


@pytest.fixture(scope="module")
def recipe(tiny):
    return replace(
        tiny, blocks=3, width=32, ffn=64, tokens=60 * 2 * 192, learning_rate=2e-2, warmup=5,
        families={"sum_direct": 1.0},
    )  # fmt: skip


@pytest.mark.parametrize("turn", [2, None])
def test_training_makes_the_states_carry_the_codes(recipe, tokenizer, tmp_path, turn):
    codes = Codes(turn=turn, dimensions=4, weight=10.0)
    found = cosines(replace(recipe, codes=codes), tokenizer, tmp_path, codes)
    for block, (first, second) in enumerate(found):
        after = turn is not None and block >= turn
        asked, other = (second, first) if after else (first, second)
        assert asked > 0.4, found
        assert asked > other + 0.3, found


def test_without_codes_the_states_carry_neither(recipe, tokenizer, tmp_path):
    found = cosines(recipe, tokenizer, tmp_path, Codes(turn=2, dimensions=4))
    assert max(abs(value) for pair in found for value in pair) < 0.35, found

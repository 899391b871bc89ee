"""Batches: where states are read, the order of prompts, padding on either side, and pooling."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cruxlm.models.batches import Batch, batches, chosen_positions

LENGTHS = [3, 1, 5, 2, 5, 4]
SKIPS = [True, True, False, False, True, False]
PAD = 99


def _positions(pooling: Any, *, limit: int = 1000, seed: int = 0) -> list[list[int]]:
    return chosen_positions(LENGTHS, pooling, skip_first=SKIPS, limit=limit, seed=seed)


def _prompts() -> list[list[int]]:
    """Prompts whose tokens say which prompt and place they are: 10 * prompt + place."""
    return [[10 * index + place for place in range(n)] for index, n in enumerate(LENGTHS)]


def _batched(pooling: Any, batch_size: int, padding: Any = "right") -> list[Batch]:
    return list(
        batches(
            _prompts(),
            _positions(pooling),
            pooling=pooling,
            batch_size=batch_size,
            padding=padding,
            pad_token=PAD,
        )
    )


def _as_states(batch: Batch) -> Tensor:
    """States that hold their own token and its square; the padding's would ruin any mean."""
    return torch.stack([batch.tokens.float(), batch.tokens.float() ** 2], dim=-1)


def test_last_reads_the_last_token_whatever_the_limit() -> None:
    assert _positions("last", limit=0) == [[2], [0], [4], [1], [4], [3]]


@pytest.mark.parametrize("pooling", ["mean", "all"])
def test_every_token_but_the_beginning_of_sequence_is_read(pooling: str) -> None:
    # The second prompt is nothing but that token, and is read there rather than nowhere.
    assert _positions(pooling) == [
        [1, 2],
        [0],
        [0, 1, 2, 3, 4],
        [0, 1],
        [1, 2, 3, 4],
        [0, 1, 2, 3],
    ]


def test_mean_has_no_limit() -> None:
    assert _positions("mean", limit=3) == _positions("mean")


def test_all_draws_as_many_tokens_as_the_limit_says() -> None:
    everything = _positions("all")
    for limit in range(1, 18):
        drawn = _positions("all", limit=limit)
        assert sum(map(len, drawn)) == limit
        for some, span in zip(drawn, everything, strict=True):
            assert some == sorted(set(some) & set(span))
    assert _positions("all", limit=18) == everything


def test_the_drawn_tokens_follow_the_seed_and_no_global_state() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = _positions("all", limit=8)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert _positions("all", limit=8) == first
    assert any(_positions("all", limit=8, seed=seed) != first for seed in (1, 2, 3))


def test_every_token_is_as_likely_to_be_drawn() -> None:
    counts = torch.zeros(18)
    flat = [(i, p) for i, span in enumerate(_positions("all")) for p in span]
    for seed in range(600):
        drawn = _positions("all", limit=6, seed=seed)
        for place, (index, position) in enumerate(flat):
            counts[place] += position in drawn[index]
    # 200 draws of each token expected, with a standard deviation of 11.5
    assert counts.sum() == 600 * 6
    assert (counts - 200).abs().max() < 4 * 11.5


def test_the_longest_come_first_and_ties_keep_their_order() -> None:
    assert [batch.prompts for batch in _batched("last", 2)] == [(2, 4), (5, 0), (3, 1)]
    assert [batch.prompts for batch in _batched("last", 4)] == [(2, 4, 5, 0), (3, 1)]


def test_a_batch_is_no_longer_than_its_longest_prompt() -> None:
    assert [tuple(batch.tokens.shape) for batch in _batched("last", 4)] == [(4, 5), (2, 2)]


def test_padding_lies_on_the_side_that_was_asked_for() -> None:
    right, left = (_batched("last", 4, side)[1] for side in ("right", "left"))
    assert right.tokens.tolist() == [[30, 31], [10, PAD]]
    assert right.mask.tolist() == [[True, True], [True, False]]
    assert left.tokens.tolist() == [[30, 31], [PAD, 10]]
    assert left.mask.tolist() == [[True, True], [False, True]]


def test_padding_is_masked_even_where_a_prompt_has_the_padding_token() -> None:
    (batch,) = batches(
        [[5, 0, 0], [0]], [[2], [0]], pooling="last", batch_size=2, padding="left", pad_token=0
    )
    assert batch.mask.tolist() == [[True, True, True], [False, False, True]]


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_last_pools_each_prompts_last_token(batch_size: int, padding: str) -> None:
    found = {}
    for batch in _batched("last", batch_size, padding):
        found.update(zip(batch.prompts, batch.pool(_as_states(batch))[:, 0].tolist(), strict=True))
    assert found == {index: prompt[-1] for index, prompt in enumerate(_prompts())}


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_all_pools_tokens_prompt_by_prompt_in_their_order(batch_size: int, padding: str) -> None:
    for batch in _batched("all", batch_size, padding):
        expected = [10 * index + p for index in batch.prompts for p in _positions("all")[index]]
        assert batch.pool(_as_states(batch))[:, 0].tolist() == expected


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_mean_averages_the_chosen_tokens_alone(batch_size: int, padding: str) -> None:
    for batch in _batched("mean", batch_size, padding):
        for index, pooled in zip(batch.prompts, batch.pool(_as_states(batch)), strict=True):
            tokens = torch.tensor([10.0 * index + p for p in _positions("mean")[index]])
            expected = torch.stack([tokens.mean(), (tokens**2).mean()])
            torch.testing.assert_close(pooled, expected)


def test_tokens_dropped_by_the_limit_give_no_samples() -> None:
    positions = [[1], [], [0, 4], [], [], [2]]
    made = batches(_prompts(), positions, pooling="all", batch_size=4)
    pooled = [batch.pool(_as_states(batch))[:, 0].tolist() for batch in made]
    assert pooled == [[20, 24, 52, 1], []]


@pytest.mark.parametrize("pooling", ["last", "mean", "all"])
def test_states_of_half_precision_are_pooled_in_float32(pooling: str) -> None:
    batch = _batched(pooling, 6)[0]
    pooled = batch.pool(torch.full((6, 5, 2), 1 / 3, dtype=torch.bfloat16))
    assert pooled.dtype == torch.float32
    # A mean of equal states is that state: no rounding of a half-precision sum.
    torch.testing.assert_close(
        pooled, torch.full_like(pooled, torch.tensor(1 / 3).bfloat16().item()), atol=0, rtol=1e-6
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    batch_size=st.integers(1, 5),
    padding=st.sampled_from(["left", "right"]),
)
def test_batches_hold_every_prompt_once_and_whole(
    lengths: list[int], batch_size: int, padding: Any
) -> None:
    prompts = [[100 * index + place for place in range(n)] for index, n in enumerate(lengths)]
    positions = [[n - 1] for n in lengths]
    made = list(batches(prompts, positions, pooling="last", batch_size=batch_size, padding=padding))
    rows = {
        index: tokens[mask].tolist()
        for batch in made
        for index, tokens, mask in zip(batch.prompts, batch.tokens, batch.mask, strict=True)
    }
    assert sum(len(batch.prompts) for batch in made) == len(prompts)
    assert [rows[index] for index in range(len(prompts))] == prompts
    widths = [batch.tokens.shape[1] for batch in made]
    assert widths == sorted(widths, reverse=True)
    assert all(len(batch.prompts) == batch_size for batch in made[:-1])

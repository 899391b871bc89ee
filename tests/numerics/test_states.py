"""The states accumulator: order, merging, memory mapping, and nothing forgotten."""

import pytest
import torch

from cruxlm.numerics.states import StatesAccumulator

IDS = ["d", "a", "c", "b"]


def test_rows_follow_sorted_ids_whatever_the_order_of_batches():
    states = torch.arange(24.0).view(2, 4, 3)
    one = StatesAccumulator(IDS, 2, 3).update(IDS, states).compute()
    two = StatesAccumulator(IDS[::-1], 2, 3)
    for place in (3, 0, 2, 1):
        two.update([IDS[place]], states[:, [place]])
    assert one.ids == ("a", "b", "c", "d")
    assert torch.equal(one.values, states[:, [1, 3, 2, 0]])
    assert torch.equal(two.compute().values, one.values)


def test_merge_joins_by_id():
    states = torch.arange(24.0).view(2, 4, 3)
    left = StatesAccumulator(IDS[:2], 2, 3).update(IDS[:2], states[:, :2])
    right = StatesAccumulator(IDS[2:], 2, 3).update(IDS[2:], states[:, 2:])
    whole = StatesAccumulator(IDS, 2, 3).update(IDS, states).compute()
    assert torch.equal(left.merge(right).compute().values, whole.values)
    assert torch.equal(right.merge(left).compute().values, whole.values)


def test_a_missing_sample_is_not_taken_for_zeros():
    with pytest.raises(ValueError, match="1 samples were never seen, first d"):
        StatesAccumulator(IDS, 1, 2).update(["a", "b", "c"], torch.ones(1, 3, 2)).compute()


def test_ids_must_differ():
    with pytest.raises(ValueError, match="unique"):
        StatesAccumulator(["a", "a"], 1, 1)


def test_above_the_bound_states_live_in_a_file():
    states = torch.randn(2, 4, 3)
    mapped = StatesAccumulator(IDS, 2, 3, memory=1).update(IDS, states).compute()
    plain = StatesAccumulator(IDS, 2, 3).update(IDS, states).compute()
    assert torch.equal(mapped.values, plain.values)

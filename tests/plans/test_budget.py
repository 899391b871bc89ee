"""Ranks under a budget against closed forms and a brute-force oracle; blocks under a memory one."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.plans.budget import not_negative, readable, spread_ranks, within_memory
from cruxlm.runtime.errors import OptionError

WEIGHTS = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("total", "weights", "ranks"),
    [
        (16, [1, 1], (8, 8)),
        (16, [0, 0], (8, 8)),
        (8, [1, 3], (2, 6)),
        (10, [1, 1, 1], (4, 3, 3)),  # ties go to the lower place
        (10, [3, 2, 1], (5, 3, 2)),  # 5, 3 1/3, 1 2/3
        (10, [1, 0, 0], (8, 1, 1)),  # at least one each
        (3, [5, 1, 0], (1, 1, 1)),
        (7, [100, 1, 1], (5, 1, 1)),
        (4, [0.2], (4,)),
        # 1 is not enough for the last at first, and then not for the second either.
        (6, [9, 2, 1], (4, 1, 1)),
    ],
)
def test_closed_forms(total, weights, ranks):
    assert spread_ranks(total, weights) == ranks


@given(WEIGHTS, st.integers(0, 200))
def test_the_total_is_kept_and_none_is_empty(weights, extra):
    total = len(weights) + extra
    ranks = spread_ranks(total, weights)
    assert sum(ranks) == total
    assert min(ranks) >= 1


@given(WEIGHTS, st.integers(0, 200))
def test_more_weight_never_gets_less(weights, extra):
    ranks = spread_ranks(len(weights) + extra, weights)
    for (a, first), (b, second) in itertools.permutations(zip(weights, ranks, strict=True), 2):
        assert not (a > b and first < second)


@given(WEIGHTS, st.integers(0, 200), st.randoms(use_true_random=False))
def test_the_order_of_the_blocks_does_not_matter(weights, extra, shuffled):
    total = len(weights) + extra
    order = list(range(len(weights)))
    shuffled.shuffle(order)
    before = spread_ranks(total, weights)
    after = spread_ranks(total, [weights[place] for place in order])
    # Up to ties, which go by place: pairs of weight and rank stay what they are.
    pairs = sorted(zip(weights, before, strict=True))
    assert sorted(zip([weights[p] for p in order], after, strict=True)) == pairs


@given(WEIGHTS, st.integers(0, 60), st.sampled_from([2.0, 0.5, 8.0]))
def test_only_proportions_matter(weights, extra, scale):
    total = len(weights) + extra
    assert spread_ranks(total, [w * scale for w in weights]) == spread_ranks(total, weights)


def _shares_by_search(total, weights):
    """max(1, c w) that sum to the total: c from each set that could be raised to 1."""
    exact = [Fraction(weight) for weight in weights]
    if not any(exact):
        return [Fraction(total, len(exact))] * len(exact)
    for raised in itertools.product([False, True], repeat=len(exact)):
        free = sum(w for w, up in zip(exact, raised, strict=True) if not up)
        if free == 0:
            continue
        scale = Fraction(total - sum(raised)) / free
        shares = [max(Fraction(1), scale * w) for w in exact]
        if sum(shares) == total:
            return shares
    raise AssertionError("no scale fits")


@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=4).map(tuple), st.integers(0, 8))
def test_no_whole_ranks_are_nearer_to_the_exact_shares(weights, extra):
    """The largest-remainder method minimises the squared distance: look at every alternative."""
    total = len(weights) + extra
    shares = _shares_by_search(total, weights)

    def distance(ranks):
        return sum((rank - share) ** 2 for rank, share in zip(ranks, shares, strict=True))

    every = itertools.product(range(1, total + 1), repeat=len(weights))
    fitting = [ranks for ranks in every if sum(ranks) == total]
    nearest = min(map(distance, fitting))
    # Of those as near, the one that gives the most to the lowest place.
    assert spread_ranks(total, weights) == max(r for r in fitting if distance(r) == nearest)


@pytest.mark.parametrize("weights", [[1, math.nan], [1, -1], [math.inf, 1]])
def test_undefined_weights_are_refused(weights):
    with pytest.raises(OptionError, match="undefined or negative"):
        spread_ranks(8, weights)


def test_too_small_a_total_is_refused():
    with pytest.raises(OptionError, match="less than 1 for each of 3"):
        spread_ranks(2, [1, 1, 1])
    with pytest.raises(OptionError, match="less than 1 for each of 0"):
        spread_ranks(2, [])


def test_scores_below_zero_are_moved_up():
    assert not_negative([0.5, 2.0]) == (0.5, 2.0)
    assert not_negative([-0.5, 2.0, 0.0]) == (0.0, 2.5, 0.5)


def test_blocks_within_memory():
    sizes = {7: 5, 3: 4, 10: 3, 1: 100}

    def memory(blocks):
        assert list(blocks) == sorted(blocks)
        return 10 + sum(sizes[block] for block in blocks)

    order = [7, 3, 10, 1]
    assert within_memory(order, memory, 15) == (7,)
    assert within_memory(order, memory, 21) == (3, 7)
    assert within_memory(order, memory, 22) == (3, 7, 10)
    assert within_memory(order, memory, 10**6) == (1, 3, 7, 10)
    with pytest.raises(OptionError, match="training block 7 alone takes an estimated"):
        within_memory(order, memory, 14)


def test_sizes_are_readable():
    assert readable(3 * 2**29) == "1.50 GiB"
    assert readable(2**19) == "0.5 MiB"

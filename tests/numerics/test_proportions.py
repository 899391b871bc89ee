"""Intervals of shares and of their paired differences: closed forms, and coverage by simulation."""

import math

import numpy as np
import pytest

from cruxlm.numerics.proportions import paired_interval, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (3, 20), (10, 20), (20, 20), (1, 1), (199, 200)])
def test_wilson_is_where_the_score_test_just_does_not_reject(hits, n):
    """Its definition: at either end the true share is 1.96 of its own standard errors away."""
    share = hits / n
    for end in wilson(hits, n):
        if end not in (0.0, 1.0):
            assert abs(share - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(1.95996, 1e-4)
    assert wilson(hits, n)[0] <= share <= wilson(hits, n)[1]


def test_nothing_asked_is_nothing_known():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("n", [20, 50, 200])
def test_wilson_holds_the_truth(n):
    """Over shares drawn at random, as the shares of attacks are; and not far below at any."""
    draw = np.random.default_rng(n)
    held = {hits: wilson(hits, n) for hits in range(n + 1)}
    shares = draw.uniform(0.01, 0.99, 4000)
    ends = np.array([held[hits] for hits in draw.binomial(n, shares)])
    assert 0.94 <= np.mean((ends[:, 0] <= shares) & (shares <= ends[:, 1])) <= 0.97
    for share in (0.01, 0.05, 0.5, 0.95):
        ends = np.array([held[hits] for hits in draw.binomial(n, share, 2000)])
        assert 0.9 <= np.mean((ends[:, 0] <= share) & (share <= ends[:, 1])) <= 0.99


@pytest.mark.parametrize(
    ("gained", "lost"), [(0.02, 0.0), (0.04, 0.01), (0.3, 0.1), (0.66, 0.0), (0.95, 0.0)]
)
def test_paired_intervals_hold_the_truth(gained, lost):
    draws, n = 200, 60
    draw = np.random.default_rng(0)
    held = 0
    for seed in range(draws):
        number = draw.random(n)
        differences = (number < gained).astype(float) - (number > 1 - lost)
        low, high = paired_interval(differences, seed=seed)
        assert low <= differences.mean() <= high
        held += low <= gained - lost <= high
    assert held >= 0.91 * draws


def test_of_other_values_it_is_the_bootstrap():
    """Against the normal interval of a mean, which a bootstrap of many values is."""
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)
    low, high = paired_interval(values)
    error = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.015)
    assert paired_interval(values) == (low, high)


def test_no_difference_is_not_certainty():
    low, high = paired_interval(np.zeros(100))
    assert low == -high
    assert high == pytest.approx(wilson(0, 100)[1])


def test_what_has_no_value_is_left_out():
    values = np.array([1.0, 0, 0, 1, 0, -1])
    assert paired_interval(np.append(values, math.nan)) == paired_interval(values)
    assert all(math.isnan(end) for end in paired_interval(np.array([1.0])))

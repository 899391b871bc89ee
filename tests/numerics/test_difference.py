"""P-values of differences: exact ones against brute force, the others by simulation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from cruxlm.numerics.difference import above_chance_p, is_binary, mcnemar, mean_difference_p


def test_mcnemar_against_every_way_that_coins_can_fall():
    one = np.array([1, 1, 1, 1, 1, 0, 1, 0, 1.0])
    other = np.array([0, 0, 0, 0, 0, 1, 1, 0, 1.0])
    falls = [sum(coins) for coins in product((0, 1), repeat=6)]
    seen = sum(one > other)
    expected = np.mean([abs(fall - 3) >= abs(seen - 3) for fall in falls])
    assert mcnemar(one, other) == pytest.approx(expected)
    assert mcnemar(other, one) == pytest.approx(expected)


def test_mcnemar_where_nothing_differs_and_where_values_are_missing():
    values = np.array([1, 0, 1, 1.0])
    assert mcnemar(values, values) == 1.0
    missing = np.array([np.nan, 0, 0, 0])
    assert mcnemar(values, missing) == mcnemar(values[1:], missing[1:]) == pytest.approx(0.5)


def test_binary_values():
    assert is_binary(np.array([0, 1, np.nan]), np.array([1.0, 1, 0]))
    assert not is_binary(np.array([0.0, 1]), np.array([0.5, 1]))


def test_symmetric_differences_have_the_p_of_student():
    values = np.array([-1.5, -1, 0, 1, 1.5]) + 0.0
    values = np.concatenate([values + 0.5, 0.5 - values])  # no skewness at all
    assert mean_difference_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_the_larger_of_two_tests_is_taken():
    values = np.random.default_rng(0).exponential(size=60) - 0.6
    mean, spread = values.mean(), values.std(ddof=1)
    skew = ((values - mean) ** 3).mean() / spread**3
    ratio = mean / spread
    # Hall's cube: ((1 + skew ratio / 3)^3 - 1) / skew, and the bias of the mean's own skewness.
    hall = ((1 + skew * ratio / 3) ** 3 - 1) / skew + skew / (6 * 60)
    plain = stats.ttest_1samp(values, 0).pvalue
    corrected = 2 * stats.t.sf(abs(hall) * 60**0.5, 59)
    assert mean_difference_p(values) == pytest.approx(max(plain, corrected))
    assert abs(np.log(corrected / plain)) > 0.1  # they do differ
    mirrored = -values
    assert mean_difference_p(mirrored) == pytest.approx(mean_difference_p(values))


def test_differences_that_hardly_vary_are_clear():
    """However skewed they are: a correction that is not monotone would turn their sign around."""
    random = np.random.default_rng(3)
    for sign in (1, -1):
        values = 3 + sign * 0.01 * random.exponential(size=60)
        assert mean_difference_p(values) < 1e-30


def test_differences_without_spread():
    assert mean_difference_p(np.zeros(10)) == 1.0
    assert mean_difference_p(np.full(10, 0.3)) == 0.0
    assert np.isnan(mean_difference_p(np.array([1.0, np.nan])))
    values = np.array([1.0, 2.0, 4.0])
    assert mean_difference_p(np.append(values, np.nan)) == mean_difference_p(values)


@pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential", "standard_t"])
def test_true_nulls_are_rejected_as_seldom_as_it_says(draw):
    random = np.random.default_rng(1)
    options = {"df": 3} if draw == "standard_t" else {}
    values = getattr(random, draw)(size=(4000, 100), **options)
    values -= 1.0 if draw == "standard_exponential" else 0.0
    p = np.array([mean_difference_p(row) for row in values])
    assert (p <= 0.05).mean() <= 0.06
    assert (p <= 0.005).mean() <= 0.0075
    assert (p <= 0.05).mean() >= 0.03  # it is not merely careful
    if draw == "standard_exponential":  # what Student's alone would do
        plain = stats.ttest_1samp(values, 0, axis=1).pvalue
        assert (plain <= 0.005).mean() > 0.0075


def test_a_real_difference_is_found():
    random = np.random.default_rng(2)
    p = [mean_difference_p(random.standard_normal(100) + 0.5) for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) > 0.95


def test_chance_against_every_set_of_guesses():
    chances, values = np.array([0.5, 0.25, 0.2]), np.array([1, 0, 1.0])
    reached = 0.0
    for guesses in product((0, 1), repeat=3):
        likely = np.prod([c if g else 1 - c for g, c in zip(guesses, chances, strict=True)])
        reached += likely * (sum(guesses) >= 2)
    assert above_chance_p(values, chances) == pytest.approx(reached)


def test_chance_against_the_binomial():
    values = np.concatenate([np.ones(22), np.zeros(18)])
    expected = stats.binomtest(22, 40, 0.5, alternative="greater").pvalue
    assert above_chance_p(values, np.full(40, 0.5)) == pytest.approx(expected)
    assert above_chance_p(np.zeros(40), np.full(40, 0.5)) == pytest.approx(1.0)
    assert above_chance_p(np.ones(400), np.full(400, 0.5)) < 1e-100
    assert above_chance_p(np.zeros(5), np.zeros(5)) == 1.0

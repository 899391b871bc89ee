import math

import numpy as np
import pytest
from scipy import stats

from cruxlm.numerics.paired import paired_difference

DRAWS = 500


def drawn(random, seeds, samples, of_seeds, of_samples, rest):
    return (
        0.3
        + of_seeds * random.standard_normal((seeds, 1))
        + of_samples * random.standard_normal((1, samples))
        + rest * random.standard_normal((seeds, samples))
    )


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "of_samples", "rest"),
    [
        (1, 0.0, 1.0, 0.5),  # one seed: nothing can be said of other trainings
        (3, 0.0, 1.0, 0.5),
        (3, 0.1, 1.0, 0.3),
        (3, 0.5, 1.0, 0.5),
        (5, 0.02, 1.0, 0.5),
        (5, 0.5, 1.0, 0.5),
        (5, 0.1, 0.05, 0.3),
    ],
)
@pytest.mark.parametrize("samples", [40, 200])
def test_95_percent_intervals_hold_the_truth(seeds, samples, of_seeds, of_samples, rest):
    random = np.random.default_rng([seeds, samples, round(100 * of_seeds)])
    found = [
        paired_difference(drawn(random, seeds, samples, of_seeds, of_samples, rest))
        for _ in range(DRAWS)
    ]
    covered = np.mean([abs(f.mean - 0.3) <= f.halfwidth for f in found])
    error = math.sqrt(0.05 * 0.95 / DRAWS)
    assert 0.90 - error <= covered <= 0.98 + error


def test_seeds_that_differ_are_not_averaged_away():
    # Without the seeds' own variance the interval of this case would be 0.1 wide, not 1.
    random = np.random.default_rng(0)
    found = paired_difference(drawn(random, 3, 400, 0.5, 0.1, 0.1))
    assert found.halfwidth > 0.3
    assert found.spread > 0.2


def test_one_seed_is_a_paired_t_interval():
    values = np.random.default_rng(1).standard_normal((1, 25)) + 0.2
    low, high = stats.ttest_1samp(values[0], 0.0).confidence_interval(0.95)
    found = paired_difference(values)
    assert found.mean - found.halfwidth == pytest.approx(low)
    assert found.mean + found.halfwidth == pytest.approx(high)
    assert math.isnan(found.spread)


def test_equal_seeds_count_once():
    values = np.random.default_rng(2).standard_normal((1, 50))
    once, thrice = paired_difference(values), paired_difference(np.repeat(values, 3, axis=0))
    assert thrice.mean == pytest.approx(once.mean)
    assert thrice.halfwidth == pytest.approx(once.halfwidth)


def test_a_difference_of_nothing_and_of_something():
    assert not paired_difference(np.zeros((3, 20))).clear
    assert paired_difference(np.ones((3, 20))).clear
    single = paired_difference(np.array([[0.5]]))
    assert math.isnan(single.halfwidth)
    assert not single.clear

"""Intervals of shares, and of differences of them, over seeds and examples: do they hold?"""

import numpy as np
import pytest
from scipy.special import expit

from cruxlm.numerics.paired import paired_difference, paired_shares, share_over_seeds

DRAWS = 300
CASES = [(1, 30, 0.0), (3, 60, 0.0), (3, 60, 0.7), (5, 100, 0.7)]
SHARES = [(0.98, 0.98), (0.98, 0.5), (0.98, 0.02), (0.9, 0.7)]


def logit(share):
    return np.log(share / (1 - share))


def answers(draw, share, rows, seeds, between_seeds):
    """1 or 0 by seed and row; rows are harder or easier, and so are seeds."""
    of_seeds = draw.normal(0, between_seeds, (seeds, 1))
    chances = expit(logit(share) + of_seeds + rows)
    return (draw.random(chances.shape) < chances).astype(float)


def true_share(share, between_seeds):
    noise = np.random.default_rng(0).normal(0, np.hypot(1, between_seeds), 200_000)
    return float(expit(logit(share) + noise).mean())


def held(found, truth):
    return abs(found.mean - truth) <= found.halfwidth


@pytest.mark.parametrize(("seeds", "count", "between"), CASES)
@pytest.mark.parametrize("shares", SHARES)
def test_intervals_hold_the_truth(shares, seeds, count, between):
    draw = np.random.default_rng(1)
    truths = [true_share(share, between) for share in shares]
    of_one = of_both = 0
    for _ in range(DRAWS):
        rows = draw.normal(0, 1, count)
        one, other = (answers(draw, share, rows, seeds, between) for share in shares)
        of_one += held(share_over_seeds(one), truths[0])
        of_both += held(paired_shares(one - other), truths[0] - truths[1])
    assert of_one >= 0.92 * DRAWS
    assert of_both >= 0.92 * DRAWS


def test_where_all_come_out_alike_the_interval_has_a_width():
    """Without the two added examples it would be sure that no example ever comes out otherwise."""
    same = np.ones((3, 40))
    assert paired_difference(same).halfwidth == 0
    assert 0.02 < paired_shares(same).halfwidth < 0.2
    assert paired_shares(np.zeros((3, 40))).mean == 0


def test_one_seed_is_agresti_and_min():
    gained, lost, n = 12, 3, 50
    differences = np.array([[1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost)])
    found = paired_shares(differences)
    more, fewer = gained + 0.5, lost + 0.5
    middle = (more - fewer) / (n + 2)
    spread = np.sqrt(more + fewer - (more - fewer) ** 2 / (n + 2)) / (n + 2)
    assert found.mean == pytest.approx(middle, rel=1e-12)
    # Student's t and a variance that divides by one less: a little wider than the normal one.
    assert 1.0 < found.halfwidth / (1.959964 * spread) < 1.05

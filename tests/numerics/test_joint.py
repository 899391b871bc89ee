"""Joint association: brute force over the shifts, and what is said of curves whose truth is known.

Rates over more draws and families are in the study ``calibration``.
"""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from cruxlm.criteria.agreement import PREDICTS, prediction
from cruxlm.numerics import joint
from cruxlm.numerics.joint import joint_association
from cruxlm.numerics.ranks import association, depth_residuals

DRAWS = 200
ERROR = 2 * np.sqrt(0.05 * 0.95 / DRAWS)


def smooth(rng, layers, width=1.5):
    """Smooth noise cut from a longer curve: the last layer is not the first one's neighbour."""
    noise = gaussian_filter1d(rng.standard_normal(layers + 40), width)[20:-20]
    return noise / noise.std()


def wandering(rng, layers):
    """Noise that forgets a fifth of itself from layer to layer."""
    steps = rng.standard_normal(layers + 20)
    for at in range(1, len(steps)):
        steps[at] += 0.8 * steps[at - 1]
    return steps[20:] / steps[20:].std()


def rising(rng, layers):
    return 3 * np.linspace(-1, 1, layers)


def falling(rng, layers):
    return 6 * np.exp(-np.linspace(0, 1, layers) * rng.uniform(2, 8))


def sagging(rng, layers):
    return 9 * (np.linspace(0, 1, layers) - rng.uniform(0.2, 0.8)) ** 2


FAMILIES = [(shape, noise) for shape in (rising, falling, sagging) for noise in (smooth, wandering)]


def null_pair(rng, layers, family):
    shape, noise = FAMILIES[family % len(FAMILIES)]
    return tuple(shape(rng, layers) + noise(rng, layers) for _ in range(2))


def planted_pair(rng, layers):
    common = smooth(rng, layers)
    return tuple(rising(rng, layers) + common + 0.4 * smooth(rng, layers) for _ in range(2))


def shifted(a, b, shift):
    """Partial correlation with a shifted curve, by the residuals' own definition."""
    n = len(a)
    left_a, left_b = depth_residuals(a), depth_residuals(b)
    window = np.roll(np.concatenate([left_b, left_b[::-1]]), shift)[:n]
    place = np.arange(n)
    tent = np.minimum(place, n - 1 - place)
    ranks = (tent[:, None] > tent).sum(1) + ((tent[:, None] == tent).sum(1) - 1) / 2
    design = np.column_stack([np.ones(n), place, ranks])
    window = window - design @ np.linalg.pinv(design) @ window
    return left_a @ window / np.sqrt((left_a @ left_a) * (window @ window))


def test_p_is_counted_over_every_combination_of_the_runs_shifts():
    rng = np.random.default_rng(0)
    pairs = [tuple(rng.standard_normal((2, n))) for n in (7, 8, 7)]
    found = joint_association(pairs, ["first", "second", "first"])
    sums = [
        shifted(*pairs[0], s) + shifted(*pairs[2], s) + shifted(*pairs[1], t)
        for s, t in itertools.product(range(14), range(16))
    ]
    assert found.p == pytest.approx(np.mean(np.array(sums) >= sums[0] - 1e-9))
    assert found.partial == pytest.approx(sums[0] / 3)
    assert found.rho == pytest.approx(np.mean([association(a, b).rho for a, b in pairs]))
    assert found.fewest_p == pytest.approx(1 / (14 * 16))
    assert (found.centres, found.pairs, found.runs) == (7, 3, 2)


def test_one_shift_for_all_runs():
    rng = np.random.default_rng(1)
    pairs = [tuple(rng.standard_normal((2, 9))) for _ in range(3)]
    sums = np.array([sum(shifted(*pair, s) for pair in pairs) for s in range(18)])
    assert joint_association(pairs, [0, 1, 2]).p_shared == pytest.approx(np.mean(sums >= sums[0]))
    together = joint_association(pairs, [0, 0, 0])
    assert together.p == together.p_shared == pytest.approx(np.mean(sums >= sums[0]))


def test_combinations_drawn_at_random_give_nearly_the_exact_p(monkeypatch):
    rng = np.random.default_rng(2)
    pairs = [null_pair(rng, 12, n) for n in range(3)]
    exact = joint_association(pairs, [0, 1, 2])
    monkeypatch.setattr(joint, "EXACT", 0)
    drawn = joint_association(pairs, [0, 1, 2], seed=1)
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(0.25 / joint.DRAWS))
    assert drawn.fewest_p == 1 / joint.DRAWS
    assert drawn == joint_association(pairs, [0, 1, 2], seed=1)


def test_the_order_of_pairs_and_the_names_of_runs_do_not_matter():
    rng = np.random.default_rng(3)
    pairs = [null_pair(rng, 12, n) for n in range(3)]
    one = joint_association(pairs, ["a", "b", "a"])
    other = joint_association(pairs[::-1], [7, (1, 2), 7])
    assert other.p == pytest.approx(one.p)
    assert other.partial == pytest.approx(one.partial)


def test_layers_without_a_value_are_left_out_of_their_run():
    rng = np.random.default_rng(4)
    pairs = [tuple(rng.standard_normal((2, 14))) for _ in range(2)]
    holed = [tuple(c.copy() for c in pair) for pair in pairs]
    holed[0][0][0] = holed[1][1][13] = np.nan
    cut = [tuple(c[1:13] for c in pair) for pair in pairs]
    assert joint_association(holed, [0, 0]) == joint_association(cut, [0, 0])
    apart = joint_association(holed, [0, 1])
    assert apart.centres == 13
    empty = (np.full(14, np.nan), pairs[0][1])
    assert joint_association([empty, pairs[1]], [0, 1]).centres == 0
    assert joint_association([empty], [0]).rho is None


def test_curves_that_follow_depth_have_a_reason_and_no_partial():
    rng = np.random.default_rng(5)
    index, noise = np.arange(24.0), rng.standard_normal(24)
    found = joint_association([(index, index + 0.1 * noise)], ["one"])
    assert found.partial is found.p is found.p_shared is None
    assert "follows depth exactly" in found.reasons[0]
    assert prediction(found) == "not distinguishable from depth"
    # In the mean only pairs that have one count, and only their runs shift.
    both = joint_association([(index, noise), (noise, noise)], [0, 1])
    assert both.partial == pytest.approx(1.0)
    assert both.fewest_p == pytest.approx(1 / 48)
    assert len(both.reasons) == 1


def test_bad_input_is_refused():
    curve = np.arange(5.0)
    with pytest.raises(ValueError, match="1 pairs of curves and 2 names"):
        joint_association([(curve, curve)], [0, 1])
    with pytest.raises(ValueError, match="0 pairs"):
        joint_association([], [])
    with pytest.raises(ValueError, match="run 'x' have different lengths"):
        joint_association([(curve, curve), (curve[1:], curve[1:])], ["x", "x"])


DESIGNS = [(20, 1), (32, 1), (12, 3), (16, 3)]


@pytest.mark.parametrize(("layers", "runs"), DESIGNS)
def test_beyond_depth_is_said_of_at_most_five_percent_of_null_draws(layers, runs):
    rng = np.random.default_rng([6, layers, runs])
    said, rhos = 0, []
    for draw in range(DRAWS):
        pairs = [null_pair(rng, layers, draw) for _ in range(runs)]
        found = joint_association(pairs, range(runs), seed=draw)
        said += prediction(found) == "predicts beyond depth"
        rhos.append(found.rho)
    assert np.median(rhos) > 0.45  # the trap: these curves share nothing but depth
    assert said / DRAWS <= 0.05 + ERROR


@pytest.mark.parametrize(("layers", "runs", "least"), [(22, 1, 0.4), (32, 1, 0.6), (12, 3, 0.6)])
def test_a_planted_association_is_found(layers, runs, least):
    rng = np.random.default_rng([7, layers])
    said = [
        prediction(joint_association([planted_pair(rng, layers) for _ in range(runs)], range(runs)))
        for _ in range(50)
    ]
    assert said.count("predicts beyond depth") / 50 >= least


def test_curves_that_disagree_do_not_predict():
    rng = np.random.default_rng(8)
    said = []
    for _ in range(50):
        a, b = planted_pair(rng, 24)
        said.append(prediction(joint_association([(a, -b)], [0])))
    assert set(said) == {"does not predict"}


def test_runs_of_one_shape_are_told_from_independent_ones_by_the_shared_shift():
    """All scans have one shape and all outcomes another: one agreement, seen several times."""
    rng = np.random.default_rng(9)
    said = np.zeros(2)
    for _ in range(100):
        shapes = [2 * smooth(rng, 20) for _ in range(2)]
        pairs = [tuple(s + rising(rng, 20) + smooth(rng, 20) for s in shapes) for _ in range(3)]
        found = joint_association(pairs, range(3))
        said += (found.p <= PREDICTS, found.p_shared <= PREDICTS)
    independent, shared = said / 100
    assert independent > 0.06  # ``p`` is not to be believed here
    assert shared <= 0.05


def test_too_few_blocks():
    rng = np.random.default_rng(10)
    one = joint_association([planted_pair(rng, 19)], [0])
    assert prediction(one) == "too few blocks to say"
    assert prediction(joint_association([planted_pair(rng, 19)] * 3, [0] * 3)) == prediction(one)
    assert prediction(joint_association([planted_pair(rng, 12)] * 2, [0, 1])) != prediction(one)


def test_runs_of_different_depth():
    rng = np.random.default_rng(11)
    pairs = [planted_pair(rng, n) for n in (12, 16, 12)]
    found = joint_association(pairs, range(3))
    assert found.centres == 12
    assert found.p <= PREDICTS
    assert found.p_shared >= 1 / 32

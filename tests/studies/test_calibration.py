"""The calibration: its curves against closed forms, its cells, and what is committed of it."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from cruxlm.criteria.agreement import prediction
from cruxlm.numerics.joint import joint_association
from cruxlm.studies import calibration as study
from cruxlm.studies.calibration import CALIBRATION
from cruxlm.studies.calibration_draws import NULLS, noise, planted, shared_shapes
from cruxlm.studies.run import check_study
from cruxlm.studies.stored import stored_cells

COMMITTED = Path(__file__).parents[2] / "studies" / "calibration"


def left_by_depth(curve):
    """What index and distance to the nearer end leave of the ranks, by the normal equations."""
    count = len(curve)
    index = np.arange(count)
    design = np.stack([np.ones(count), index, np.minimum(index, count - 1 - index)], axis=1)
    design = np.apply_along_axis(lambda c: np.argsort(np.argsort(c)) + 0.0, 0, design)
    design[:, 0] = 1
    ranks = np.argsort(np.argsort(curve)) + 0.0
    return ranks - design @ np.linalg.solve(design.T @ design, design.T @ ranks)


@pytest.mark.parametrize("width", [1.5, 3.0])
def test_neighbours_in_noise_correlate_as_a_smoothed_white_noise_does(width):
    rng = np.random.default_rng(0)
    curve = noise(rng, 20_000, width)
    assert curve.std() == pytest.approx(1.0)
    for lag in (1, 2, 4):
        found = np.mean(curve[lag:] * curve[:-lag])
        assert found == pytest.approx(np.exp(-(lag**2) / (4 * width**2)), abs=0.05)
    rough = noise(rng, 20_000, 0.0)
    assert np.mean(rough[1:] * rough[:-1]) == pytest.approx(0, abs=0.03)
    # In a ring the last block would be the first one's neighbour.
    drawn = np.array([noise(rng, 22, width) for _ in range(500)])
    drawn -= drawn.mean(axis=1, keepdims=True)
    assert np.corrcoef(drawn[:, [0, -1]].T)[0, 1] < 0.2


@pytest.mark.parametrize("family", NULLS)
def test_null_curves_share_depth_and_nothing_else(family):
    rng = np.random.default_rng(1)
    raw, left = [], []
    for _ in range(300):
        one, two = NULLS[family][1](rng, 24)[0]
        raw.append(spearmanr(one, two).statistic)
        left.append(np.corrcoef(left_by_depth(one), left_by_depth(two))[0, 1])
    assert np.median(raw) > (0.15 if family == "valley" else 0.5)
    bound = 0.2 if family == "valley" else 0.1  # where their places agree, depth leaves a valley
    assert abs(np.mean(left)) < bound


def test_outcomes_of_one_run_are_related():
    rng = np.random.default_rng(2)
    pairs = [NULLS["tasks"][1](rng, 24) for _ in range(200)]
    assert all(one[0] is two[0] for one, two in pairs)
    both = [np.corrcoef(left_by_depth(a[1]), left_by_depth(b[1]))[0, 1] for a, b in pairs]
    assert np.mean(both) > 0.3


def test_runs_of_one_shape_are_alike_in_each_of_their_curves_only():
    rng = np.random.default_rng(3)
    scans, apart = [], []
    for _ in range(200):
        ((one, other),), ((two, _),) = shared_shapes(rng, 24, 2)
        scans.append(np.corrcoef(left_by_depth(one), left_by_depth(two))[0, 1])
        apart.append(np.corrcoef(left_by_depth(one), left_by_depth(other))[0, 1])
    assert np.mean(scans) > 0.3
    assert abs(np.mean(apart)) < 0.1


def test_a_larger_planted_share_is_a_larger_agreement_beyond_depth():
    rng = np.random.default_rng(4)
    means = []
    for share in (0.0, 0.5, 0.9):
        pairs = [planted(rng, 24, share)[0] for _ in range(200)]
        means.append(np.mean([np.corrcoef(*map(left_by_depth, pair))[0, 1] for pair in pairs]))
    assert abs(means[0]) < 0.1
    assert means[0] + 0.2 < means[1] < means[2] - 0.2


def test_a_cell_counts_what_is_said():
    found = study.null(blocks=22, runs=1, draws=6, seed=5)
    assert list(found) == list(NULLS)
    again = {}
    rng = np.random.default_rng([5, 22, 1, 0])
    for number in range(6):
        said = prediction(joint_association(NULLS["rising"][1](rng, 22), [0], seed=number))
        again[said] = again.get(said, 0) + 1
    assert found["rising"]["said"] == again
    few = study.null(blocks=12, runs=1, draws=3, seed=0)
    assert all(tally["said"] == {"too few blocks to say": 3} for tally in few.values())
    found = study.power(blocks=32, runs=3, shares=[0.0, 0.9], draws=10, seed=0)
    beyond = [tally["said"].get("predicts beyond depth", 0) for tally in found.values()]
    assert beyond[0] <= 3 < 8 <= beyond[1]


def test_intervals_are_counted():
    found, partial = (
        study.interval(blocks=16, noise=0.3, given_depth=given, draws=5, seed=0)
        for given in (False, True)
    )
    for held in (found, partial):
        assert held["held"] + held["above"] + held["below"] == held["draws"] == 5
        assert 0 < held["mean_width"] < 1.5
    assert 0.5 < found["mean_estimate"] < found["mean_truth"] < 1  # errors make it smaller
    assert partial["mean_truth"] < found["mean_truth"]


def test_the_grid_is_what_the_design_asks_for():
    assert CALIBRATION.cost_seconds < 600
    nulls = [cell.options for cell in CALIBRATION.cells if cell.name.startswith("null-")]
    assert {(o["blocks"], o["runs"]) for o in nulls} == {
        (blocks, runs) for blocks in (12, 16, 22, 32) for runs in (1, 3, 5)
    }
    assert all(options["draws"] >= 200 for options in nulls)


def test_committed_cells_are_reproduced():
    assert check_study(CALIBRATION, COMMITTED, cells="shape-22x1") == ("shape-22x1",)


def test_the_promise_is_kept_where_it_was_measured():
    """At most 5 % over the families; intervals hold 90 to 98 %: to two standard errors."""
    found = {name: cell.result for name, cell in stored_cells(CALIBRATION, COMMITTED).items()}
    for name, result in found.items():
        if name.startswith("null-"):
            draws = sum(tally["draws"] for tally in result.values())
            said = sum(tally["said"].get("predicts beyond depth", 0) for tally in result.values())
            assert said / draws <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws), name
        if name.startswith("interval-"):
            error = np.sqrt(0.9 * 0.1 / result["draws"])
            assert 0.90 - 2 * error <= result["held"] / result["draws"] <= 0.98 + error, name

"""Dynamics: the published curves, a planted turn, and a negative control without one."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cruxlm.criteria.descriptor import Measured
from cruxlm.criteria.dynamics import DYNAMICS, delta, neighbours, score_dynamics
from cruxlm.numerics.resampling import deal
from cruxlm.runtime.errors import OptionError

DEFAULT = DYNAMICS.presets["default"]
PAPER = {k: v for k, v in DYNAMICS.presets["paper"].items() if k != "estimator"}


def measured(states, **more):
    """Block outputs as measured, with an input in front that dynamics does not read."""
    whole = torch.cat([torch.zeros_like(states[:1]), states])
    return Measured(whole, deal(range(states.shape[1])), **more)


def walk(blocks, turn_at=None, samples=120, width=48, step=0.1, seed=0):
    """A slow random walk of states; at ``turn_at`` most of it is replaced by something new."""
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(samples, width, generator=generator)
    states = []
    for block in range(blocks):
        fresh = torch.randn(samples, width, generator=generator)
        size = 0.8 if block == turn_at else step
        state = (1 - size**2) ** 0.5 * state + size * fresh
        states.append(state)
    return torch.stack(states)


def test_window_and_ends():
    weights, cut = neighbours(5, 3, include_self=False)
    assert weights[0].tolist() == [0, 1, 0, 0, 0]
    assert weights[2].tolist() == [0, 0.5, 0, 0.5, 0]
    assert cut.tolist() == [True, False, False, False, True]
    similarity = np.arange(25.0).reshape(5, 5)
    kept = delta(similarity, window=3, include_self=False, ends="keep")
    assert kept.tolist() == [1, 6, 12, 18, 23]
    dropped = delta(similarity, window=3, include_self=False, ends="drop")
    assert np.isnan(dropped[[0, 4]]).all()
    assert dropped[1:4].tolist() == [6, 12, 18]


def test_counting_the_block_itself_changes_no_ranking():
    """delta without self = (5 delta - 1) / 4 for interior blocks and window 5."""
    states = walk(12, turn_at=6)
    one = score_dynamics(measured(states), **{**DEFAULT, "window": 5, "ends": "drop"})
    two = score_dynamics(
        measured(states), **{**DEFAULT, "window": 5, "ends": "drop", "include_self": True}
    )
    inside = slice(2, 10)
    expected = (5 * two.series["delta"][inside] - 1) / 4
    assert np.allclose(one.series["delta"][inside], expected)


@pytest.mark.parametrize("window", [0, 1, 2, 4])
def test_a_window_that_has_no_centre_is_refused(window):
    with pytest.raises(OptionError, match="odd"):
        neighbours(8, window, include_self=False)


@pytest.mark.parametrize("turn_at", [5, 9])
def test_a_planted_turn_is_found_and_its_absence_too(turn_at):
    """The turn between blocks t - 1 and t lowers both similarities; nothing else stands out."""
    found = score_dynamics(measured(walk(16, turn_at)), **DEFAULT)
    assert set(np.argsort(-found.values)[:2].tolist()) == {turn_at - 1, turn_at}
    others = np.delete(found.values, [turn_at - 1, turn_at])
    assert found.values[turn_at] > others.max() + 5 * found.stderr[turn_at]
    twin = score_dynamics(measured(walk(16)), **DEFAULT).values[1:-1]
    assert twin.max() < 3 * np.median(twin)


def test_a_turn_in_one_huge_useless_dimension_shows_in_the_evidence():
    states = walk(8)
    generator = torch.Generator().manual_seed(9)
    states[:, :, 0] = 200 * torch.randn(8, states.shape[1], generator=generator)
    found = score_dynamics(measured(states), **DEFAULT)
    share = np.array(found.evidence["gram_share_top_dims"][0])
    assert (share > 0.95).all()
    assert any("dimensions holds" in warning for warning in found.warnings)
    without = np.array(found.evidence["score_without_top_dims"][0])
    clean = score_dynamics(measured(walk(8)[:, :, 1:]), **DEFAULT).values
    assert np.allclose(without, clean, atol=1e-5)
    assert found.values[3] > 0.5 > without[3]


def test_errors_of_delta_hold_the_truth():
    """delta is a mean of CKAs with a known population value: two blends of the same clouds."""
    generator = torch.Generator().manual_seed(0)
    width, held, draws = 24, 0, 200
    mixing = (0.3, 0.6, 0.9)
    shared = [1 / (1 + m**2) for m in mixing]
    for draw in range(draws):
        z = torch.randn(150, width, generator=generator)
        e = torch.randn(3, 150, width, generator=generator)
        layers = torch.stack([z + m * e[i] for i, m in enumerate(mixing)])
        resampled = Measured(torch.cat([z[None], layers]), deal(range(150), seed=draw))
        found = score_dynamics(resampled, **DEFAULT)
        # CKA of z + a e and z + b e' is 1 / ((1 + a^2)(1 + b^2)): covariances are multiples of I.
        pair = [shared[0] * shared[1], shared[1] * shared[2]]
        truth = 1 - sum(pair) / 2
        half = 2.093 * found.stderr[1]
        held += abs(found.values[1] - truth) <= half
    assert 0.88 <= held / draws <= 0.995


def test_few_prompts_for_the_biased_estimator_are_warned_of():
    found = score_dynamics(measured(walk(6, width=48)), **DYNAMICS.presets["paper"])
    assert any("biased CKA with n = 120" in warning for warning in found.warnings)
    assert not score_dynamics(measured(walk(6)), **DEFAULT).warnings


def test_states_that_do_not_differ_are_named():
    states = walk(6)
    states[2] = 1.0
    found = score_dynamics(measured(states), **DEFAULT)
    assert any("block 2 are the same for every prompt" in warning for warning in found.warnings)
    assert np.isnan(found.values[[1, 2, 3]]).all()


def reference_folder() -> Path:
    """Published matrices beside the real data; absent outside development."""
    real = Path(os.environ.get("CRUX_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    folder = real.parent / "reference" / "data"
    if not folder.is_dir():
        pytest.skip(f"no published CKA matrices at {folder}")
    return folder


def published(name):
    """A decoded CKA matrix of LLaMA-2-7B-Chat and the decoded delta curve, blocks 2 to 29."""
    folder = reference_folder()
    matrix = np.loadtxt(folder / f"cka32_{name.lower()}.csv", delimiter=",")
    np.fill_diagonal(matrix, 1.0)  # the heat map's darkest step reads 0.998
    with (folder / "delta_llama2_7b_chat.csv").open() as file:
        curve = {int(row["layer"]): float(row[name]) for row in csv.DictReader(file)}
    assert sorted(curve) == list(range(2, 30))
    return matrix, np.array([curve[block] for block in range(2, 30)])


@pytest.mark.real
@pytest.mark.parametrize("name", ["Dolly", "Alpaca", "OpenBookQA", "GSM8K", "BoolQ"])
def test_published_matrices_give_the_published_curves(name):
    """Cells are accurate to 0.004; four of the five in a window are read, so delta to 0.0032."""
    matrix, curve = published(name)
    found = delta(matrix, **PAPER)
    assert np.isnan(found[[0, 1, 30, 31]]).all()
    assert np.abs(found[2:30] - curve).max() <= 0.0032


@pytest.mark.real
def test_the_published_curve_counts_the_block_itself():
    """Within the quantisation for Dolly with it, and five times off without."""
    matrix, curve = published("Dolly")
    without = delta(matrix, **{**PAPER, "include_self": False})
    assert np.abs(delta(matrix, **PAPER)[2:30] - curve).max() <= 0.0016
    assert np.abs(without[2:30] - curve).max() > 0.005

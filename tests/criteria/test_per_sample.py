"""Block influence and angular distance: definitions, planted blocks, errors, what is undefined."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from cruxlm.criteria.angular_distance import score_angular_distance
from cruxlm.criteria.block_influence import score_block_influence
from cruxlm.criteria.descriptor import Measured
from cruxlm.numerics.resampling import deal
from cruxlm.runtime.errors import OptionError


def rotated(turns, samples=60, seed=0):
    """States in a plane, turned by a known angle at each block and scaled at will."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(samples, generator=generator, dtype=torch.float64) * 6
    angles = torch.cat([torch.zeros(1, dtype=torch.float64), torch.tensor(turns).cumsum(0)])
    states = torch.stack([torch.stack([(start + a).cos(), (start + a).sin()], 1) for a in angles])
    sizes = torch.linspace(1, 9, len(states), dtype=torch.float64)
    return Measured((states * sizes[:, None, None]).float(), deal(range(samples)))


TURNS = [0.8, 0.05, 0.3, 0.0, 0.6]


def test_known_turns():
    measured = rotated(TURNS)
    expected = [1 - math.cos(turn) for turn in TURNS]
    assert np.allclose(score_block_influence(measured).values, expected, atol=1e-6)
    found = score_angular_distance(measured, span=1).values
    assert np.allclose(found, np.array(TURNS) / math.pi, atol=1e-6)


def test_a_run_of_blocks_is_scored_at_its_first():
    found = score_angular_distance(rotated(TURNS), span=2)
    expected = [(a + b) / math.pi for a, b in pairwise(TURNS)]
    assert np.allclose(found.values[:4], expected, atol=1e-6)
    assert np.isnan(found.values[4])
    assert np.isnan(found.stderr[4])


@pytest.mark.parametrize("span", [0, 6])
def test_an_impossible_span_is_refused(span):
    with pytest.raises(OptionError, match="span must be 1 to 5"):
        score_angular_distance(rotated(TURNS), span=span)


def test_an_identity_block_scores_nothing_and_a_random_one_most():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(1, 80, 64, generator=generator)
    states = torch.cat([states, states, torch.randn(1, 80, 64, generator=generator)])
    found = score_block_influence(Measured(states, deal(range(80))))
    assert found.values[0] == pytest.approx(0, abs=1e-12)
    assert found.values[1] == pytest.approx(1, abs=0.1)


def test_the_error_is_that_of_a_mean():
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(2, 400, 16, generator=generator)
    found = score_block_influence(Measured(states, deal(range(400))))
    per_sample = 1 - torch.nn.functional.cosine_similarity(states[0], states[1])
    assert found.stderr[0] == pytest.approx(float(per_sample.std()) / 20, rel=0.35)
    assert found.halves.shape == (200, 1)
    assert found.halves.mean() == pytest.approx(found.values[0], abs=3 * found.stderr[0])


def test_states_of_zeros_are_left_out_and_said():
    states = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(3))
    states[0, :3] = 0
    found = score_block_influence(Measured(states, deal(range(40))))
    expected = 1 - torch.nn.functional.cosine_similarity(states[0, 3:], states[1, 3:]).mean()
    assert found.values[0] == pytest.approx(float(expected), abs=1e-6)
    assert found.warnings == ("3 states are zero and have no direction",)

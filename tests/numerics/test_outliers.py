"""Outlier dimensions and variance between groups, planted."""

import pytest
import torch

from cruxlm.numerics.outliers import energy_share, largest_dimensions, variance_between


def test_planted_dimensions_are_found_and_weighed():
    generator = torch.Generator().manual_seed(0)
    layer = torch.randn(200, 64, generator=generator)
    layer[:, 17] *= 30
    layer[:, 5] *= 10
    found = largest_dimensions(layer, 5)
    assert found[:2].tolist() == [17, 5]
    x = (layer - layer.mean(0)).double()
    expected = (x[:, [17]] @ x[:, [17]].T).norm() ** 2 / (x @ x.T).norm() ** 2
    assert energy_share(layer, found[:1]) == pytest.approx(float(expected), rel=1e-5)
    assert energy_share(layer, found[:1]) > 0.9


def test_all_dimensions_hold_everything_and_no_states_nothing():
    layer = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert energy_share(layer, torch.arange(8)) == pytest.approx(1.0, abs=1e-6)
    assert energy_share(torch.ones(20, 8), torch.tensor([0])) == 0.0


def test_variance_between_groups_is_the_planted_share():
    generator = torch.Generator().manual_seed(1)
    strata = torch.arange(4).repeat_interleave(500)
    means = torch.randn(4, 200, generator=generator)
    means -= means.mean(0)
    means *= (3 / means.square().sum(1).mean() * 200) ** 0.5
    layer = means[strata] + torch.randn(2000, 200, generator=generator)
    assert variance_between(layer, strata) == pytest.approx(0.75, abs=0.01)
    assert variance_between(layer, strata[torch.randperm(2000, generator=generator)]) < 0.01
    assert variance_between(torch.ones(2000, 3), strata) == 0.0

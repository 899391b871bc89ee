"""Every registered criterion keeps what its descriptor declares."""

import numpy as np
import pytest
import torch

from cruxlm.criteria import CRITERIA
from cruxlm.criteria.descriptor import Measured
from cruxlm.numerics.resampling import deal
from cruxlm.runtime.errors import OptionError

NAMES = CRITERIA.names()
OF_STATES = [name for name in NAMES if "states" in CRITERIA.get(name).needs]
SAMPLES, WIDTH, LAYERS = 50, 24, 7


def states():
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(SAMPLES, WIDTH, generator=generator)
    walk = torch.randn(LAYERS, SAMPLES, WIDTH, generator=generator).cumsum(0)
    # In float64: k-means turns on rounding where a state lies between two clusters.
    return (common + 0.5 * walk + 0.3).double()


def rotation(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator).double())[0]


SCALES = torch.linspace(0.3, 20, LAYERS)[:, None, None]
CHANGES = {
    "sample_order": lambda x: x[
        :, torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1))
    ],
    "scale": lambda x: 37.0 * x,
    "layer_scale": lambda x: SCALES * x,
    "rotation": lambda x: x @ rotation(2),
    "layer_rotation": lambda x: torch.stack([layer @ rotation(i) for i, layer in enumerate(x)]),
    "shift": lambda x: (
        x + 5 * torch.randn(LAYERS, 1, WIDTH, generator=torch.Generator().manual_seed(3))
    ),
}


def score(criterion, x):
    measured = Measured(x, deal(range(SAMPLES), halves=4))
    return criterion.score(measured, **criterion.options("default")).values


@pytest.mark.parametrize("name", OF_STATES)
@pytest.mark.parametrize("change", CHANGES)
def test_declared_invariances_hold_and_undeclared_ones_do_not(name, change):
    criterion = CRITERIA.get(name)
    before, after = score(criterion, states()), score(criterion, CHANGES[change](states()))
    assert np.allclose(before, after, atol=1e-5) == (change in criterion.invariances)


@pytest.mark.parametrize("name", NAMES)
def test_a_descriptor_is_complete(name):
    criterion = CRITERIA.get(name)
    assert criterion.name == name
    assert next(iter(criterion.presets)) == "default"
    assert criterion.needs or name in ("depth", "random")  # controls need nothing
    page = criterion.page()
    assert page.startswith(f"# {name}")
    for part in ("What it answers", "Formula", "Source", "Cost", "When it misleads"):
        assert f"**{part}.**" in page
    _, known, arxiv = criterion.citation.rpartition("arXiv:")
    assert not known or arxiv in page


@pytest.mark.parametrize("name", OF_STATES)
def test_scores_come_with_errors_and_halves(name):
    criterion = CRITERIA.get(name)
    found = criterion.score(
        Measured(states(), deal(range(SAMPLES))), **criterion.options("default")
    )
    assert found.values.shape == found.stderr.shape == (LAYERS - 1,)
    assert found.halves.shape == (200, LAYERS - 1)
    assert (found.stderr > 0).all()


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(OptionError, match="did you mean 'dynamics'"):
        CRITERIA.get("dynamic")
    with pytest.raises(OptionError, match=r"no preset 'papers'.*'paper'"):
        CRITERIA.get("dynamics").options("papers")
    with pytest.raises(OptionError, match=r"no option 'windows'.*'window'"):
        CRITERIA.get("dynamics").options("default", {"windows": 3})
    assert CRITERIA.canonical("cka") == "dynamics"

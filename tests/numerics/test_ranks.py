"""Depth-aware rank agreement: an independent oracle, and a verdict that is calibrated."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import rankdata, spearmanr

from cruxlm.criteria.agreement import verdict
from cruxlm.numerics.ranks import association, depth, explained_by_depth, spearman


def smooth_curve(rng, layers, slope):
    """A trend in depth and smooth noise that belongs to this curve alone."""
    noise = gaussian_filter1d(rng.standard_normal(layers), sigma=1.5, mode="wrap")
    return slope * np.linspace(-1, 1, layers) + noise / noise.std()


def test_spearman_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 25))
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(a, np.ones(25)) is None


def test_the_partial_correlation_is_that_of_the_inverse_matrix():
    """Partial correlation given two others, from the precision matrix of the four rankings."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 30)) + np.linspace(0, 2, 30)
    table = np.stack([a, b, *depth(30).T])
    precision = np.linalg.inv(np.corrcoef(np.apply_along_axis(rankdata, 1, table)))
    expected = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    assert association(a, b).partial == pytest.approx(expected, abs=1e-9)


def test_a_curve_that_is_depth_has_no_partial():
    index = np.arange(24.0)
    found = association(index, index**2)
    assert found.rho == pytest.approx(1.0)
    assert found.partial is None
    assert verdict(found) == "not distinguishable from depth"
    assert explained_by_depth(index) == pytest.approx(1.0)
    assert explained_by_depth(np.abs(index - 11.5)) == pytest.approx(1.0)


@pytest.mark.parametrize("layers", [22, 32])
def test_beyond_depth_is_said_of_at_most_five_percent_of_null_draws(layers):
    rng = np.random.default_rng(2)
    said, rhos, draws = 0, [], 400
    for _ in range(draws):
        found = association(smooth_curve(rng, layers, 3.0), smooth_curve(rng, layers, 3.0))
        rhos.append(found.rho)
        said += verdict(found) == "beyond depth"
    assert np.median(rhos) > 0.7  # the trap: these curves share nothing but depth
    assert said / draws <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)


def test_a_shared_bump_is_found_beyond_depth():
    rng = np.random.default_rng(3)
    said = 0
    for _ in range(100):
        bump = smooth_curve(rng, 32, 0.0)
        a, b = (3 * np.linspace(-1, 1, 32) + bump + 0.3 * rng.standard_normal(32) for _ in range(2))
        said += verdict(association(a, b)) == "beyond depth"
    assert said > 80


def test_few_blocks_give_no_verdict():
    rng = np.random.default_rng(4)
    a = rng.standard_normal(19)
    assert verdict(association(a, a + 0.01 * rng.standard_normal(19))) == "too few blocks to say"


def test_undefined_layers_are_left_out():
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 30))
    holed = a.copy()
    holed[[0, 7]] = np.nan
    keep = [i for i in range(30) if i not in (0, 7)]
    assert association(holed, b) == association(a[keep], b[keep])

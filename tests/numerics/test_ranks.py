"""Depth-aware rank agreement: an independent oracle, and a verdict that is calibrated."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import kendalltau, pearsonr, rankdata, spearmanr

from cruxlm.criteria.agreement import verdict
from cruxlm.numerics.ranks import (
    association,
    depth,
    depth_residuals,
    explained_by_depth,
    kendall,
    partial_correlation,
    pearson,
    shifted_correlations,
    spearman,
    top_overlap,
)


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


def test_kendall_and_pearson_are_scipys():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, 25))
    b[:5] = 0.0  # ties
    assert kendall(a, b) == pytest.approx(kendalltau(a, b).statistic)
    assert pearson(a, b) == pytest.approx(pearsonr(a, b).statistic)
    assert pearson(1e-12 * a, 1e12 * b) == pytest.approx(pearsonr(a, b).statistic)
    for measure in (kendall, pearson):
        assert measure(a, np.ones(25)) is None
        assert measure(a[:2], b[:2]) is None


def test_why_a_correlation_is_undefined():
    rng = np.random.default_rng(7)
    index, noise = np.arange(24.0), rng.standard_normal(24)
    assert "follows depth exactly" in association(-np.exp(index), noise).reason
    assert "follows depth exactly" in association(noise, -np.abs(index - 11.5)).reason
    assert "constant" in association(np.ones(24), noise).reason
    assert "too few" in association(noise[:4], index[:4]).reason
    assert "too few" in association(noise[:2], index[:2]).reason
    assert association(noise, np.sin(index)).reason is None


def test_overlap_of_the_highest_is_counted_against_every_possible_draw():
    a, b = np.array([9, 8, 7, 1, 2, 3, 4.0]), np.array([7, 9, 1, 8, 2, 3, 4.0])
    found = top_overlap(a, b, 3)
    others = [len({0, 1, 2} & set(drawn)) for drawn in itertools.combinations(range(7), 3)]
    assert found.shared == 2
    assert found.expected == pytest.approx(np.mean(others))
    assert found.corrected == pytest.approx((2 - np.mean(others)) / (3 - np.mean(others)))
    assert found.p == pytest.approx(np.mean([shared >= 2 for shared in others]))
    assert top_overlap(a, a, 3).corrected == pytest.approx(1.0)
    assert top_overlap(a, a, 7).corrected is None
    # Equal values: the lower layers. An undefined layer is not drawn from.
    assert top_overlap(np.zeros(7), np.array([1, 1, 0, 0, 0, 0, 0.0]), 2).shared == 2
    assert top_overlap(np.where(a == 9, np.nan, a), b, 3).expected == pytest.approx(9 / 6)
    for k in (0, 8):
        with pytest.raises(ValueError, match="between 1 and 7"):
            top_overlap(a, b, k)


def test_overlap_of_random_curves_is_none_above_chance():
    rng = np.random.default_rng(8)
    found = [top_overlap(*rng.standard_normal((2, 24)), 5) for _ in range(500)]
    assert np.mean([overlap.corrected for overlap in found]) == pytest.approx(0, abs=0.03)
    assert np.mean([overlap.p <= 0.05 for overlap in found]) < 0.07


@pytest.mark.parametrize("given_depth", [False, True])
def test_every_shift_is_the_correlation_with_a_window_of_the_mirrored_curve(given_depth):
    rng = np.random.default_rng(9)
    n = 11
    a, b = rng.standard_normal((2, n)) + np.linspace(0, 2, n)
    measures = np.column_stack([np.ones(n), np.apply_along_axis(rankdata, 0, depth(n))])
    hat = measures @ np.linalg.pinv(measures) if given_depth else np.full((n, n), 1 / n)
    left_a, left_b = (rankdata(c) - hat @ rankdata(c) for c in (a, b))
    expected = []
    for shift in range(2 * n):
        window = []
        for place in range(n):
            at = (place - shift) % (2 * n)
            window.append(left_b[at] if at < n else left_b[2 * n - 1 - at])
        window = np.array(window) - hat @ window
        expected.append(np.corrcoef(left_a, window)[0, 1])
    found = shifted_correlations(a, b, given_depth=given_depth)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    whole = association(a, b)
    assert found[0] == pytest.approx(whole.partial if given_depth else whole.rho)


def test_shifts_of_a_mirrored_curve_agree_by_nearly_as_much_as_the_curve_itself():
    """A seam makes shifted curves rougher than the curve itself, and their agreement too small."""
    rng = np.random.default_rng(10)
    own, mirrored, seamed = [], [], []
    for _ in range(200):
        a, b = (gaussian_filter1d(rng.standard_normal(80), 3)[34:46] for _ in range(2))
        left_a, left_b = depth_residuals(a), depth_residuals(b)
        found = shifted_correlations(a, b, given_depth=True)
        own.append(found[0] ** 2)
        mirrored.append(np.mean(found[1:] ** 2))
        scale = (left_a @ left_a) * (left_b @ left_b)
        seamed.append(np.mean([(left_a @ np.roll(left_b, s)) ** 2 / scale for s in range(1, 12)]))
    assert np.mean(seamed) < 0.5 * np.mean(own)
    assert np.mean(mirrored) > 0.65 * np.mean(own)


def test_the_correlation_given_depth_is_that_of_the_association():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 24))
    a[[0, 5]] = b[7] = np.nan
    assert partial_correlation(a, b) == association(a, b).partial
    assert partial_correlation(np.arange(24.0), b) is None
    assert partial_correlation(a[:6], b[:6]) is None

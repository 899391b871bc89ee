"""Intervals of a rank correlation: their coverage, and the likelihood behind them.

Coverage over more designs is in the study ``calibration``.
"""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import multivariate_normal, rankdata, spearmanr

from cruxlm.numerics import rank_intervals
from cruxlm.numerics.rank_intervals import association_interval, halves_interval, mean_interval
from cruxlm.numerics.ranks import association
from cruxlm.numerics.resampling import deal

DRAWS = 100
ERROR = 2 * np.sqrt(0.05 * 0.95 / DRAWS)
PROMPTS = deal(range(100))
MEMBER, HALVES = PROMPTS.member.numpy(), PROMPTS.halves.numpy().astype(float)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    """Enough for a rate; the ends of one interval are known to a few percent of its width."""
    monkeypatch.setattr(rank_intervals, "DRAWS", 400)


def smooth(rng, *shape):
    noise = gaussian_filter1d(rng.standard_normal((*shape[:-1], shape[-1] + 20)), 1.5)[..., 10:-10]
    return noise / noise.std()


def rough(rng, *shape):
    return rng.standard_normal(shape)


def true_pair(rng, layers, share):
    """Two curves of depth and noise that are correlated by about this much."""
    a = smooth(rng, layers) + np.linspace(-1, 1, layers)
    other = smooth(rng, layers) + rng.choice([-1, 1]) * np.linspace(-1, 1, layers)
    b = share * a / a.std() + np.sqrt(1 - share**2) * other / other.std()
    return a / a.std(), b / b.std()


def examples(rng, curve, count, noise, kind):
    """Values of examples whose mean has this error; some examples are hard in all layers."""
    own = kind(rng, count, len(curve)) * np.sqrt(count) * noise
    return (curve + own + 3 * rng.standard_normal((count, 1))).T


def half_samples(rng, curve, noise, kind):
    values = examples(rng, curve, 100, noise, kind)
    sums = np.stack([values[:, g == MEMBER].sum(axis=1) for g in range(20)])
    return HALVES @ sums / 50


def covered(intervals, truths):
    held = [low <= truth <= high for (low, high), truth in zip(intervals, truths, strict=True)]
    return np.mean(held)


def bootstrapped(rng, a, per_example):
    """The percentile bootstrap over examples."""
    count = per_example.shape[1]
    means = rng.multinomial(count, np.full(count, 1 / count), size=400) @ per_example.T
    ranks = rankdata(means, axis=1)
    found = np.corrcoef(rankdata(a), ranks)[0, 1:]
    return tuple(np.quantile(found, [0.025, 0.975]))


@pytest.mark.parametrize(
    ("layers", "share", "noise", "kind"),
    [
        (14, 0.0, 0.3, rough),
        (14, 0.9, 0.3, rough),
        (28, 0.5, 0.6, smooth),
        (28, 0.9, 0.3, smooth),
    ],
)
def test_95_percent_intervals_hold_the_truth(layers, share, noise, kind):
    rng = np.random.default_rng([layers, round(10 * share), round(10 * noise)])
    truths, found, partials, given_depth = [], [], [], []
    for seed in range(DRAWS):
        a, b = true_pair(rng, layers, share)
        per_example = examples(rng, b, 150, noise, kind)
        truths.append(spearmanr(a, b).statistic)
        found.append(association_interval(a, per_example, seed=seed))
        if association(a, b).partial is not None:
            partials.append(association(a, b).partial)
            given_depth.append(association_interval(a, per_example, given_depth=True, seed=seed))
    assert 0.90 - ERROR <= covered(found, truths) <= 0.98 + ERROR
    assert 0.90 - ERROR <= covered(given_depth, partials) <= 0.98 + ERROR


@pytest.mark.parametrize(("layers", "share", "noise"), [(22, 0.5, 0.3), (30, 0.8, 0.5)])
def test_layers_and_errors_of_different_size(layers, share, noise):
    """As costs of undoing are: a few layers a hundred times the others, and so are their errors."""
    rng = np.random.default_rng([layers, round(10 * noise)])
    truths, found = [], []
    for seed in range(60):
        a, b = true_pair(rng, layers, share)
        factor = np.exp(0.7 * (rough(rng, layers, 150) + rough(rng, 1, 150)))
        own = noise * np.sqrt(150) * (factor - factor.mean()) / factor.std()
        truths.append(spearmanr(a, b).statistic)
        found.append(association_interval(a, np.exp(2.5 * b)[:, None] * (1 + own), seed=seed))
    assert covered(found, truths) >= 0.90
    assert np.median(np.ptp(found, axis=1)) < 0.6  # on their own scale: 1.4


@pytest.mark.parametrize(("share", "noise"), [(0.5, 0.3), (0.9, 0.6)])
def test_intervals_hold_the_truth_when_both_curves_are_uncertain(share, noise):
    rng = np.random.default_rng(0)
    truths, found, of_halves = [], [], []
    for seed in range(30):
        a, b = true_pair(rng, 14, share)
        halves = half_samples(rng, a, noise, rough)
        truths.append(spearmanr(a, b).statistic)
        tested = examples(rng, b, 150, noise, rough)
        found.append(association_interval(halves, tested, seed=seed))
        of_halves.append(halves_interval(halves, half_samples(rng, b, noise, rough), seed=seed))
    error = 2 * np.sqrt(0.05 * 0.95 / 30)
    assert covered(found, truths) >= 0.90 - error
    assert covered(of_halves, truths) >= 0.90 - error


def test_the_percentile_bootstrap_would_not():
    rng = np.random.default_rng(1)
    truths, found = [], []
    for _ in range(60):
        a, b = true_pair(rng, 14, 0.9)
        truths.append(spearmanr(a, b).statistic)
        found.append(bootstrapped(rng, a, examples(rng, b, 150, 0.6, rough)))
    assert covered(found, truths) < 0.7


def test_the_mean_of_pairs_is_known_better_than_each():
    rng = np.random.default_rng(2)
    truths, found, widths = [], [], []
    for seed in range(40):
        worlds = [true_pair(rng, 14, 0.6) for _ in range(4)]
        tested = [(a, examples(rng, b, 150, 0.4, rough)) for a, b in worlds]
        truths.append(np.mean([spearmanr(a, b).statistic for a, b in worlds]))
        found.append(mean_interval(tested, seed=seed))
        widths.append(np.ptp(found[-1]) / np.ptp(association_interval(*tested[0], seed=seed)))
    assert covered(found, truths) >= 0.90 - 2 * np.sqrt(0.05 * 0.95 / 40)
    assert np.median(widths) < 0.7


def test_without_noise_the_correlation_is_known_and_with_nothing_else_it_is_not():
    rng = np.random.default_rng(3)
    a, b = true_pair(rng, 20, 0.5)
    rho = spearmanr(a, b).statistic
    assert association_interval(a, np.repeat(b[:, None], 10, axis=1)) == pytest.approx((rho, rho))
    low, high = association_interval(a, examples(rng, 0 * b, 50, 1.0, rough))
    assert high - low > 0.8
    assert low < 0 < high


def test_scale_order_and_what_all_layers_share_do_not_matter():
    rng = np.random.default_rng(4)
    a, b = true_pair(rng, 16, 0.7)
    per_example = examples(rng, b, 60, 0.3, rough)
    found = association_interval(a, per_example)
    moved = 1e-6 * per_example[:, ::-1] + 5 * rng.standard_normal(60)
    assert association_interval(np.exp(a), moved) == pytest.approx(found, abs=0.03)
    assert association_interval(a, per_example) == found
    low, high = association_interval(-a, per_example)
    assert (-high, -low) == pytest.approx(found, abs=0.1)


def test_layers_without_a_value_are_left_out():
    rng = np.random.default_rng(5)
    a, b = true_pair(rng, 16, 0.7)
    per_example = examples(rng, b, 60, 0.3, rough)
    holed, missing = a.copy(), per_example.copy()
    holed[0], missing[15] = np.nan, np.nan
    expected = association_interval(a[1:15], per_example[1:15])
    assert association_interval(holed, missing) == expected
    halves = half_samples(rng, a, 0.1, rough)
    undefined = halves.copy()
    undefined[3, [0, 15]] = np.nan
    expected = association_interval(halves[:, 1:15], per_example[1:15])
    assert association_interval(undefined, per_example) == expected


def test_what_has_no_interval():
    rng = np.random.default_rng(6)
    a, b = true_pair(rng, 16, 0.7)
    per_example = examples(rng, b, 60, 0.3, rough)
    assert association_interval(a[:4], per_example[:4]) is None
    assert association_interval(a, per_example[:, :2]) is None
    assert association_interval(np.ones(16), per_example) is None
    assert association_interval(np.full(16, np.nan), per_example) is None
    assert association_interval(a, np.ones((16, 60))) is None
    assert halves_interval(np.ones((200, 16)), half_samples(rng, b, 0.1, rough)) is None
    assert mean_interval([(a[:4], per_example[:4])]) is None
    assert association_interval(np.zeros((0, 16)), per_example) is None
    both = [(a, per_example), (a[:4], per_example[:4])]
    assert mean_interval(both) == association_interval(a, per_example)


@pytest.mark.parametrize("length", rank_intervals.LENGTHS)
def test_the_likelihood_is_that_of_the_marginal_normal(length):
    """Oracle: regression on a slope of unknown size is a very wide term in the covariance."""
    rng = np.random.default_rng(7)
    layers = 9
    contrasts = np.linalg.svd(np.eye(layers) - 1 / layers)[0][:, :-1]
    curve, given = rng.standard_normal((2, layers))
    root = 0.3 * rng.standard_normal((layers, layers))
    noise = contrasts.T @ root @ root.T @ contrasts
    kind = rank_intervals._Kind(contrasts, curve, noise, length)
    found = kind.fit(given[None]).likelihood[0]
    apart = np.subtract.outer(np.arange(layers), np.arange(layers)) ** 2
    rest = np.eye(layers)
    if length:
        rest = np.exp(-apart / (2 * length**2)) + rank_intervals.NUGGET * rest
    rest = contrasts.T @ rest @ contrasts
    rest /= np.trace(rest) / (layers - 1)
    slope = contrasts.T @ given
    wide = 1e6
    expected = [
        multivariate_normal.logpdf(
            contrasts.T @ curve, cov=s**2 * rest + noise + wide * np.outer(slope, slope)
        )
        for s in rank_intervals.SPREADS
    ]
    constant = np.log(wide) / 2 + (layers - 1) / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(found, np.array(expected) + constant, rtol=1e-3)


def test_curves_are_drawn_from_the_normal_posterior(monkeypatch):
    """Oracle: for one spread, what conditioning the joint normal distribution gives."""
    monkeypatch.setattr(rank_intervals, "SPREADS", np.array([0.7]))
    rng = np.random.default_rng(8)
    layers = 6
    contrasts = np.linalg.svd(np.eye(layers) - 1 / layers)[0][:, :-1]
    curve, given = rng.standard_normal((2, layers))
    noise = 0.2 * np.diag(rng.random(layers - 1) + 0.2)
    kind = rank_intervals._Kind(contrasts, curve, noise, 0.0)
    zeros = np.zeros(20_000, dtype=int)
    drawn = kind.draw(kind.fit(given[None]), zeros, zeros, rng) @ contrasts
    slope = contrasts.T @ given
    prior = 0.49 * np.eye(layers - 1) + 1e6 * np.outer(slope, slope)
    gain = prior @ np.linalg.inv(prior + noise)
    np.testing.assert_allclose(drawn.mean(axis=0), gain @ contrasts.T @ curve, atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), prior - gain @ prior, atol=0.02)

"""CKA against independent oracles: brute force, the feature-space formula, another package."""

import cka as pytorch_cka
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cruxlm.numerics.grams import deviations
from cruxlm.numerics.resampling import deal, interval_halfwidth
from cruxlm.numerics.similarity import cka

ESTIMATORS = ("biased", "debiased")


def features(layers=3, samples=30, width=12, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    own = torch.randn(layers, samples, width, generator=generator, dtype=torch.float64)
    return (shared + own).to(dtype)


def hsic_biased(k, m):
    """tr(K H L H) written out with the centring matrix (Gretton et al. 2005)."""
    n = len(k)
    h = torch.eye(n, dtype=k.dtype) - 1 / n
    return torch.trace(k @ h @ m @ h)


def hsic_unbiased(k, m):
    """Song et al. 2012, equation 5, on Grams whose diagonal is zeroed."""
    n = len(k)
    k, m = k - torch.diag(torch.diagonal(k)), m - torch.diag(torch.diagonal(m))
    one = torch.ones(n, dtype=k.dtype)
    cross = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return torch.trace(k @ m) + cross - 2 / (n - 2) * (one @ k @ m @ one)


def brute_force(states, estimator):
    """CKA pair by pair in float64 from Grams of the features as they are."""
    hsic = hsic_biased if estimator == "biased" else hsic_unbiased
    grams = [x.double() @ x.double().T for x in states]
    own = [hsic(k, k) for k in grams]
    pairs = [
        [hsic(k, m) / (own[i] * own[j]).sqrt() for j, m in enumerate(grams)]
        for i, k in enumerate(grams)
    ]
    return torch.tensor(pairs, dtype=torch.float64)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("samples", "width"), [(4, 3), (7, 40), (61, 5), (40, 40)])
def test_equals_float64_brute_force(estimator, samples, width):
    states = features(samples=samples, width=width, dtype=torch.float64)
    expected = brute_force(states, estimator)
    assert torch.allclose(cka(states, estimator=estimator).values, expected, atol=1e-12)
    assert torch.allclose(cka(states.float(), estimator=estimator).values, expected, atol=2e-6)


def test_equals_the_feature_space_formula():
    """Kornblith et al.'s published notebook: no Gram is formed, only X'Y and the row norms."""

    def similarity(x, y):
        n = len(x)
        a, b = x.square().sum(1), y.square().sum(1)
        dot = (x.T @ y).square().sum()
        return dot - n / (n - 2) * (a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2))

    x, y = (
        layer - layer.mean(0)
        for layer in features(layers=2, samples=50, width=20, dtype=torch.float64)
    )
    expected = similarity(x, y) / (similarity(x, x) * similarity(y, y)).sqrt()
    assert abs(cka(torch.stack([x, y])).values[0, 1] - expected) < 1e-12


def test_agrees_with_pytorch_cka_on_zero_mean_data():
    states = torch.stack(
        [layer - layer.mean(0) for layer in features(layers=4, samples=64, width=16)]
    )
    theirs = pytorch_cka.cka_from_features(states, states)
    assert torch.allclose(cka(states).values.float(), theirs, atol=1e-5)


def test_a_mean_a_thousand_times_the_spread():
    """Public packages return NaN, 0 or 1 here: three-term formulas cancel on uncentred Grams."""
    spread = features(layers=3, samples=128, width=64, seed=2, dtype=torch.float64)
    offset = 1000 * torch.randn(
        1, 1, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    states = (spread + offset).float()
    expected = brute_force(states.double() - states.double().mean(1, keepdim=True), "debiased")
    assert torch.allclose(cka(states).values, expected, atol=1e-6)
    theirs = pytorch_cka.cka_from_features(states, states)
    assert not torch.allclose(theirs.double(), expected, atol=0.05, equal_nan=False)


def test_independent_clouds_at_the_width_of_a_language_model():
    clouds = torch.randn(2, 300, 4096, generator=torch.Generator().manual_seed(0))
    assert cka(clouds, estimator="biased").values[0, 1] == pytest.approx(0.932, abs=0.002)
    found = cka(clouds, resampling=deal(range(300)))
    half = interval_halfwidth(20) * float(found.stderr[0, 1])
    assert abs(float(found.values[0, 1])) < half < 0.03


@given(
    samples=st.integers(4, 40),
    width=st.integers(1, 24),
    seed=st.integers(0, 10_000),
    estimator=st.sampled_from(ESTIMATORS),
)
@settings(max_examples=60, deadline=None)
def test_invariances(samples, width, seed, estimator):
    """Symmetric with a unit diagonal; blind to rotation, scale, shift and the order of samples."""
    states = features(samples=samples, width=width, seed=seed, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[
        0
    ]
    order = torch.randperm(samples, generator=generator)
    moved = states.clone()
    moved[1] = 7.5 * moved[1] @ rotation + 3.0
    values = cka(states, estimator=estimator).values
    assert torch.allclose(values, values.T)
    assert torch.allclose(torch.diagonal(values), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(cka(moved[:, order], estimator=estimator).values, values, atol=1e-7)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_memory_bound_changes_nothing_but_the_tiles(estimator):
    states = features(layers=4, samples=53, width=9)
    resampling = deal(range(53))
    whole = cka(states, estimator=estimator, resampling=resampling)
    for memory in (1, 20_000, 60_000, 200_000):
        tiled = cka(states, estimator=estimator, resampling=resampling, memory=memory)
        assert torch.allclose(tiled.values, whole.values, atol=1e-6)
        assert torch.allclose(tiled.stderr, whole.stderr, atol=1e-6)
        assert torch.allclose(tiled.halves, whole.halves, atol=1e-5)


@pytest.mark.parametrize("band", [1, 2, 9])
def test_a_band_is_the_band_of_the_whole(band):
    states, resampling = features(layers=6), deal(range(30))
    whole, banded = (cka(states, resampling=resampling, band=b) for b in (None, band))
    index = torch.arange(6)
    inside = (index[:, None] - index).abs() <= band
    assert torch.allclose(banded.values[inside], whole.values[inside], atol=1e-6)
    assert torch.allclose(banded.stderr[inside], whole.stderr[inside], atol=1e-6)
    assert bool(banded.values[~inside].isnan().all())


def test_dropped_dimensions_are_gone():
    states = features(layers=2, samples=40, width=10)
    loud = states.clone()
    loud[:, :, 3] = 500 * torch.randn(2, 40, generator=torch.Generator().manual_seed(5))
    without = cka(loud, drop=torch.tensor([[3], [3]])).values
    keep = [d for d in range(10) if d != 3]
    assert torch.allclose(without, cka(states[:, :, keep]).values, atol=1e-6)
    assert abs(float(without[0, 1] - cka(loud).values[0, 1])) > 0.2


def test_removing_group_means_is_unbiased():
    """States that share only their groups: similar with the means, unrelated without them."""
    generator = torch.Generator().manual_seed(3)
    strata = torch.arange(12).repeat_interleave(10)
    means = torch.randn(12, 64, generator=generator) * 3
    raw, within = [], []
    for _ in range(40):
        states = means[strata] + torch.randn(2, 120, 64, generator=generator)
        raw.append(cka(states).values[0, 1])
        within.append(cka(states, strata=strata).values[0, 1])
    assert torch.stack(raw).mean() > 0.9
    values = torch.stack(within)
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5 + 1e-3


def test_one_stratum_is_no_stratum_and_tiny_strata_do_not_count():
    states = features(layers=2, samples=30)
    same = cka(states, strata=torch.zeros(30, dtype=torch.int64)).values
    assert torch.allclose(same, cka(states).values, atol=1e-6)
    pairs = torch.arange(30) // 2
    assert bool(torch.isfinite(cka(states, strata=pairs).values).all())


def test_constant_states_have_no_similarity():
    states = features(layers=3)
    states[1] = 5.0
    values = cka(states, resampling=deal(range(30))).values
    assert bool(values[1].isnan().all())
    assert bool(torch.isfinite(values[0, 2]))


def test_fewer_than_four_samples_are_refused():
    with pytest.raises(ValueError, match="at least 4"):
        cka(features(samples=3))


def test_deviations_have_no_mean_even_where_the_mean_is_large():
    layer = features(layers=1)[0] * 40 + 1e5
    exact = layer.double() - layer.double().mean(0)
    assert torch.allclose(deviations(layer).double(), exact, atol=1e-5)
    assert deviations(layer).mean(0).abs().max() < 1e-5

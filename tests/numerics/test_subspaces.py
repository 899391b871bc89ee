"""Components and subspaces against numpy, scipy, scikit-learn, and planted truth."""

import numpy as np
import pytest
import scipy.linalg
import torch

from cruxlm.numerics.covariance import CovarianceAccumulator
from cruxlm.numerics.decomposition import decompose
from cruxlm.numerics.subspaces import (
    canonical_correlations,
    direction_angles,
    mean_correlations,
    principal_angles,
    procrustes,
    projection_weighted,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(width, seed=0):
    return torch.linalg.qr(draw(width, width, seed=seed))[0]


def related(samples=80, width=12, seed=0):
    """Two clouds that share some of their directions, with spectra that fall."""
    scale = torch.linspace(3, 0.3, width, dtype=torch.float64)
    x = draw(samples, width, seed=seed) * scale
    y = (x + 0.7 * draw(samples, width, seed=seed + 1)) @ rotation(width, seed + 2) + 5
    return x, y


def test_a_decomposition_is_one():
    states, _ = related()
    found = decompose(states + 40)
    assert found.rank == 12
    whole = found.left * found.singular @ found.right + found.mean
    assert torch.allclose(whole, states + 40, atol=1e-12)
    eye = torch.eye(12, dtype=torch.float64)
    assert torch.allclose(found.left.T @ found.left, eye, atol=1e-12)
    assert torch.allclose(found.right @ found.right.T, eye, atol=1e-12)
    oracle = np.linalg.eigvalsh(np.cov(states.numpy(), rowvar=False))[::-1]
    assert np.allclose(found.singular.square() / 79, oracle)
    assert found.energy.sum() == pytest.approx(1)


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_directions_that_are_rounding_are_left_out(mean):
    low = draw(60, 4) @ draw(4, 30, seed=1) + mean
    assert decompose(low).rank == 4
    assert decompose(low.float()).rank == 4
    assert decompose(draw(20, 64)).rank == 19  # the mean takes one


def test_equal_states_have_no_component():
    with pytest.raises(ValueError, match="all states are the same"):
        decompose(torch.full((10, 5), 3.3))


def test_ranks_of_known_spectra():
    even = decompose(torch.linalg.qr(draw(200, 8) - draw(200, 8).mean(0))[0])
    assert even.effective_rank == pytest.approx(8, rel=1e-3)
    assert even.participation_ratio == pytest.approx(8, rel=1e-3)
    one = decompose(torch.outer(draw(50), draw(6, seed=1)))
    assert one.effective_rank == pytest.approx(1)
    assert one.participation_ratio == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_canonical_correlations_are_those_of_an_iterative_cca(k):
    cca = pytest.importorskip("sklearn.cross_decomposition").CCA
    a, b = map(decompose, related())
    one, other = (
        (x.left[:, :k] * x.singular[:k]).numpy() for x in (a, b)
    )  # what the paper's notebook hands to it
    u, v = cca(n_components=k, scale=False, max_iter=5000, tol=1e-12).fit_transform(one, other)
    oracle = [abs(np.corrcoef(u[:, i], v[:, i])[0, 1]) for i in range(k)]
    assert np.allclose(canonical_correlations(a, b, k), oracle, atol=1e-4)


def test_one_product_serves_every_k():
    a, b = map(decompose, related())
    found = mean_correlations(a, b, 10)
    for k in range(1, 11):
        assert found[k - 1] == pytest.approx(float(canonical_correlations(a, b, k).mean()))


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.3, 1.2, np.pi / 2])
def test_a_planted_angle_is_found(angle):
    """The plane of the first two axes, one of them turned by an angle towards a third."""
    basis = torch.linalg.qr(draw(40, 5) - draw(40, 5).mean(0))[0]
    basis -= basis.mean(0)
    basis = torch.linalg.qr(basis)[0]
    turned = basis.clone()
    turned[:, 1] = np.cos(angle) * basis[:, 1] + np.sin(angle) * basis[:, 2]
    scale = torch.tensor([3.0, 2.0], dtype=torch.float64)
    a, b = decompose(basis[:, :2] * scale), decompose(turned[:, :2] * scale)
    found = principal_angles(a, b, 2)
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert float(found[1]) == pytest.approx(angle, rel=1e-5, abs=1e-12)


def test_angles_are_scipys():
    a, b = map(decompose, related())
    for k in (1, 4, 12):
        oracle = np.sort(scipy.linalg.subspace_angles(a.left[:, :k].numpy(), b.left[:, :k].numpy()))
        assert np.allclose(principal_angles(a, b, k), oracle, atol=1e-10)
        oracle = np.sort(scipy.linalg.subspace_angles(a.right[:k].numpy().T, b.right[:k].numpy().T))
        assert np.allclose(direction_angles(a, b, k), oracle, atol=1e-10)


def similarities(a, b):
    return {
        "correlations": float(mean_correlations(a, b, 5)[-1]),
        "weighted": projection_weighted(a, b),
        "procrustes": procrustes(a, b),
    }


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        (lambda y: y @ rotation(12, 9), {"correlations", "weighted", "procrustes"}),
        (lambda y: 3 * y, {"correlations", "weighted", "procrustes"}),
        (lambda y: y + 7, {"correlations", "weighted", "procrustes"}),
        # An invertible map keeps the span of all components, not that of the leading five.
        (lambda y: y @ (draw(12, 12, seed=4) + 6 * torch.eye(12)), {"weighted"}),
    ],
    ids=["rotation", "scale", "shift", "invertible"],
)
def test_what_does_not_change_a_similarity(change, stays):
    x, y = related()
    before = similarities(decompose(x), decompose(y))
    after = similarities(decompose(x), decompose(change(y)))
    for name in before:
        assert (after[name] == pytest.approx(before[name], abs=1e-9)) == (name in stays), name


def test_a_cloud_is_most_like_itself():
    x, y = related()
    for name, value in similarities(decompose(x), decompose(x)).items():
        assert value == pytest.approx(1), name
    for name, value in similarities(decompose(x), decompose(y)).items():
        assert 0 < value < 0.999, name


def test_weights_of_units_decide_pwcca():
    """One direction is shared and one is not; the cloud holds nearly all of itself in the first."""
    shared, own, other = draw(200, 3).unbind(1)
    b = decompose(torch.stack([shared, other], 1))
    mostly = projection_weighted(decompose(torch.stack([10 * shared, 0.1 * own], 1)), b)
    hardly = projection_weighted(decompose(torch.stack([0.1 * shared, 10 * own], 1)), b)
    assert mostly > 0.95
    assert hardly < 0.3


def test_procrustes_is_scipys():
    x, y = (states - states.mean(0) for states in related())
    x, y = x / x.norm(), y / y.norm()
    _, oracle = scipy.linalg.orthogonal_procrustes(x.numpy(), y.numpy())
    assert procrustes(decompose(x), decompose(y)) == pytest.approx(oracle)


def test_layers_that_cannot_be_compared():
    a, b = decompose(draw(20, 3)), decompose(draw(21, 3))
    with pytest.raises(ValueError, match="20 and 21 samples"):
        procrustes(a, b)
    with pytest.raises(ValueError, match="4 components: there are 3"):
        principal_angles(a, a, 4)


def test_a_stream_is_as_its_whole():
    states = draw(90, 7) * torch.linspace(1, 5, 7) + 300
    parts = [CovarianceAccumulator(7) for _ in range(3)]
    for place, batch in enumerate(states.split(13)):
        parts[place % 3].update(batch.float() if place > 99 else batch)
    found = CovarianceAccumulator(7)
    for part in parts:
        found.merge(part)
    found = found.merge(CovarianceAccumulator(7)).update(states[:0]).compute()
    whole = decompose(states)
    assert found.samples == 90
    assert torch.allclose(found.mean, whole.mean)
    assert torch.allclose(found.variances, whole.singular.square() / 89, rtol=1e-10)
    assert torch.allclose(
        (found.directions @ whole.right.T).abs(), torch.eye(7).double(), atol=1e-7
    )


def test_one_sample_has_no_variance():
    with pytest.raises(ValueError, match="1 samples: two are needed"):
        CovarianceAccumulator(4).update(draw(1, 4)).compute()

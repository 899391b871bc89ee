r"""Similarity of two layers by their components: principal angles, CCA and its kin, Procrustes.

Everything is read off the decompositions of the two layers, with no iteration. With the left
singular vectors :math:`U_a, U_b` of the centred states, the canonical correlations of their
leading K components are the singular values of the leading K x K part of :math:`U_a^T U_b`: the
cosines of the angles between the two subspaces (Björck and Golub 1973). One product serves every K.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.numerics.decomposition import Decomposition


def canonical_correlations(
    a: Decomposition, b: Decomposition, k: int
) -> Float[Tensor, " correlations"]:
    """The correlations of the leading ``k`` components of each, the highest first.

    Layers are compared on the same samples in the same order.

    Raises:
        ValueError: When a layer has fewer than ``k`` components, or the samples differ in number.
    """
    found: Tensor = torch.linalg.svdvals(_overlap(a, b, k))
    return found


def mean_correlations(a: Decomposition, b: Decomposition, most: int) -> Float[Tensor, " most"]:
    """The mean canonical correlation of the leading 1, 2, ... ``most`` components (SVCCA).

    SVCCA (Raghu et al. 2017) keeps as many components as hold a share of the variance; here every
    number is answered at once. Raises as ``canonical_correlations`` does.
    """
    overlap = _overlap(a, b, most)
    means = [torch.linalg.svdvals(overlap[:k, :k]).mean() for k in range(1, most + 1)]
    return torch.stack(means)


def principal_angles(a: Decomposition, b: Decomposition, k: int) -> Float[Tensor, " angles"]:
    """Angles in radians between the leading ``k`` components of two layers, as directions of the
    samples; the smallest first.

    A small angle is read from its sine: its cosine is 1 to rounding. Raises as
    ``canonical_correlations`` does.
    """
    return _angles(a.left[:, :k], b.left[:, :k], _overlap(a, b, k))


def direction_angles(a: Decomposition, b: Decomposition, k: int) -> Float[Tensor, " angles"]:
    """The same between their directions in the space of the states, which must be one space.

    A residual stream is one: blocks add to it. Raises as ``canonical_correlations`` does.
    """
    _check(a, b, k)
    one, other = a.right[:k].T, b.right[:k].T
    return _angles(one, other, one.T @ other)


def projection_weighted(a: Decomposition, b: Decomposition) -> float:
    """PWCCA of Morcos et al. 2018: canonical correlations weighted by what they hold of ``a``.

    The weight of a canonical direction is the sum over ``a``'s units of the absolute product with
    it; so it is not symmetric, and depends on the units. All components of both are used.

    Raises:
        ValueError: When the samples differ in number.
    """
    _check(a, b, 1)
    turn, correlations, _ = torch.linalg.svd(a.left.T @ b.left, full_matrices=False)
    states = a.singular[:, None] * a.right
    weights = (turn.T @ states).abs().sum(dim=1)
    return float((weights * correlations).sum() / weights.sum())


def procrustes(a: Decomposition, b: Decomposition) -> float:
    """Similarity after the best rotation: the nuclear norm of the product, both of norm 1.

    From 0 to 1. The squared orthogonal Procrustes distance (Schönemann 1966; Ding et al. 2021) is
    two less twice this.

    Raises:
        ValueError: When the samples differ in number.
    """
    _check(a, b, 1)
    one, other = (x.left * (x.singular / x.singular.norm()) for x in (a, b))
    return float(torch.linalg.svdvals(one.T @ other).sum())


def _overlap(a: Decomposition, b: Decomposition, k: int) -> Float[Tensor, "k k"]:
    _check(a, b, k)
    return a.left[:, :k].T @ b.left[:, :k]


def _angles(
    one: Float[Tensor, "dimension k"],
    other: Float[Tensor, "dimension k"],
    overlap: Float[Tensor, "k k"],
) -> Float[Tensor, " k"]:
    """Angles between the spans of orthonormal columns (Knyazev and Argentati 2002)."""
    cosines = torch.linalg.svdvals(overlap)
    sines = torch.linalg.svdvals(other - one @ overlap).flip(0)
    return torch.where(cosines.square() < 0.5, cosines.acos(), sines.asin())


def _check(a: Decomposition, b: Decomposition, k: int) -> None:
    if len(a.left) != len(b.left):
        raise ValueError(
            f"{len(a.left)} and {len(b.left)} samples: layers of the same are compared"
        )
    least = min(a.rank, b.rank)
    if not 1 <= k <= least:
        raise ValueError(f"{k} components: there are {least}")

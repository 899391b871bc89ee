"""Rank correlation between two curves over depth, and what is left of it once depth is taken out.

Curves over neighbouring layers are smooth: two of them that have nothing in common but depth reach
a rank correlation of 0.8 with ease, and the textbook p-value takes the layers for independent.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.stats import hypergeom, kendalltau, rankdata

Curve = Float[np.ndarray, " layers"]

FEWEST_CENTRES = 20
"""Below this many layers no verdict is given: the smallest p of a circular shift is 1 / layers."""


@dataclass(frozen=True)
class Association:
    """Rank correlation of two curves, with and without what each shares with depth."""

    rho: float | None
    """Spearman's correlation; None when a curve is constant."""
    partial: float | None
    """The same given depth (index and distance to the nearer end); None when depth explains all."""
    p: float | None
    """Share of circular shifts of one residual curve that reach the partial correlation."""
    layers: int
    """Layers at which both curves have a value."""
    reason: str | None = None
    """Why a correlation is not defined; None when both are."""


@dataclass(frozen=True)
class TopOverlap:
    """How many of their k highest layers two curves share."""

    shared: int
    """Layers among the k highest of both."""
    expected: float
    """Layers that k drawn at random would share with the other k: k * k / layers."""
    corrected: float | None
    """Shared above chance, as a share of what there was to gain: 0 by chance, 1 for the same k
    layers; None when k is every layer."""
    p: float
    """Chance that k layers drawn at random share as many (hypergeometric)."""


def depth(layers: int) -> Float[np.ndarray, "layers two"]:
    """The two depth measures: the index, and the distance to the nearer end."""
    index = np.arange(layers)
    return np.stack([index, np.minimum(index, layers - 1 - index)], axis=1).astype(float)


def spearman(a: Curve, b: Curve) -> float | None:
    """Spearman's rank correlation; None for a constant curve or fewer than 3 values."""
    return correlation(rankdata(a), rankdata(b)) if len(a) >= 3 else None


def kendall(a: Curve, b: Curve) -> float | None:
    """Kendall's tau-b; None for a constant curve or fewer than 3 values."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(kendalltau(a, b).statistic)


def pearson(a: Curve, b: Curve) -> float | None:
    """Pearson's correlation; None for a constant curve or fewer than 3 values."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    # Divided by their ranges, so that the scale of a curve does not decide what is rounding.
    return correlation(np.asarray(a) / np.ptp(a), np.asarray(b) / np.ptp(b))


def top_overlap(a: Curve, b: Curve, k: int) -> TopOverlap:
    """Overlap of the k highest layers of two curves, corrected for chance.

    Layers where either is NaN are left out. Of equal values the lower layer comes first.
    Raises ``ValueError`` when k is not between 1 and the number of layers left.
    """
    both = np.isfinite(a) & np.isfinite(b)
    n = int(both.sum())
    if not 1 <= k <= n:
        raise ValueError(f"the {k} highest of {n} layers: k must be between 1 and {n}")
    tops = [set(np.argsort(-np.asarray(c)[both], kind="stable")[:k].tolist()) for c in (a, b)]
    shared, expected = len(tops[0] & tops[1]), k * k / n
    corrected = (shared - expected) / (k - expected) if k < n else None
    return TopOverlap(shared, expected, corrected, float(hypergeom.sf(shared - 1, n, k, k)))


def explained_by_depth(curve: Curve) -> float | None:
    """Share of the curve's rank variance that the two depth measures explain together, 0 to 1."""
    ranks = rankdata(curve)
    if len(curve) < 4 or np.ptp(ranks) == 0:
        return None
    left = depth_residuals(curve)
    return float(1 - left @ left / ((ranks - ranks.mean()) @ (ranks - ranks.mean())))


def depth_residuals(curve: Curve) -> Curve:
    """Ranks of the curve less their least-squares fit on the ranks of both depth measures."""
    ranks = rankdata(curve)
    return np.asarray(ranks - on_depth(ranks))


def partial_correlation(a: Curve, b: Curve) -> float | None:
    """Spearman's correlation given depth; None where a curve follows depth, or of under 5 layers.

    Layers where either is NaN are left out.
    """
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 5:
        return None
    return correlation(depth_residuals(np.asarray(a)[both]), depth_residuals(np.asarray(b)[both]))


def association(a: Curve, b: Curve) -> Association:
    """How two curves over the same layers agree, beyond what each owes to depth.

    Layers where either is NaN are left out. The p-value shifts one curve's depth residuals around
    a ring (`shifted_correlations`), which keeps their smoothness; it is two-sided and at least
    1 / (2 * layers).
    """
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.asarray(a)[both], np.asarray(b)[both]
    n = len(a)
    rho = spearman(a, b)
    if rho is None:
        reason = "a curve is constant" if n >= 3 else f"{n} layers are too few to correlate"
        return Association(None, None, None, n, reason)
    if n < 5:
        return Association(rho, None, None, n, f"{n} layers are too few to take depth out")
    partial = partial_correlation(a, b)
    if partial is None:
        return Association(rho, None, None, n, "a curve follows depth exactly: nothing is left")
    shifted = shifted_correlations(a, b, given_depth=True)
    reached = np.abs(shifted) >= np.abs(shifted[0]) * (1 - 1e-9)
    return Association(rho, partial, float(reached.mean()), n)


def shifted_correlations(a: Curve, b: Curve, *, given_depth: bool) -> Float[np.ndarray, " shifts"]:
    """Rank correlation of ``a`` with ``b`` at all 2 * layers shifts; the first is no shift.

    ``b`` is mirrored at its end, so that the ring around which it is shifted has no seam: with a
    seam, shifted curves are rougher than the curve itself and agree with less (in null draws of
    three runs of 12 smooth curves p <= 0.05 came up in up to 18 %). What a shift brings back of
    depth is taken out again, so each is a partial correlation as the first is.
    Both curves are finite and have the correlation (``association``).
    """
    left_a, left_b = (depth_residuals(c) if given_depth else rankdata(c) for c in (a, b))
    left_a, left_b = left_a - left_a.mean(), left_b - left_b.mean()
    n = len(left_a)
    ring = np.concatenate([left_b, left_b[::-1]])
    windows = ring[(np.arange(n) - np.arange(2 * n)[:, None]) % (2 * n)].T
    windows = windows - (on_depth(windows) if given_depth else windows.mean(axis=0))
    lengths = np.linalg.norm(windows, axis=0)
    # A window that follows depth exactly agrees with nothing.
    defined = lengths > 1e-6 * lengths[0]
    found = left_a @ windows / np.linalg.norm(left_a)
    return np.asarray(np.divide(found, lengths, out=np.zeros(2 * n), where=defined))


def on_depth(curves: Float[np.ndarray, "layers *curves"]) -> Float[np.ndarray, "layers *curves"]:
    """Least-squares fit of each curve (a column) on the ranks of both depth measures."""
    basis = _depth_basis(len(curves))
    return np.asarray(basis @ (basis.T @ curves))


@cache
def _depth_basis(layers: int) -> Float[np.ndarray, "layers terms"]:
    """Orthonormal basis of a constant and the ranks of both depth measures."""
    measures = np.apply_along_axis(rankdata, 0, depth(layers))
    design = np.column_stack([np.ones(layers), measures])
    basis, size, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, size > 1e-9 * size[0]]  # two layers have no distance to the nearer end
    basis.flags.writeable = False
    return np.asarray(basis)


def correlation(a: Curve, b: Curve) -> float | None:
    """Pearson's correlation; None when a curve has no variation beyond rounding."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    # Ranks are of the order of n, so a residual sum of squares below this is rounding alone.
    return float(a @ b / scale) if min(a @ a, b @ b) > 1e-9 * len(a) else None

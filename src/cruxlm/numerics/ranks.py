"""Rank correlation between two curves over depth, and what is left of it once depth is taken out.

Curves over neighbouring layers are smooth: two of them that have nothing in common but depth reach
a rank correlation of 0.8 with ease, and the textbook p-value takes the layers for independent.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

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


def depth(layers: int) -> Float[np.ndarray, "layers two"]:
    """The two depth measures: the index, and the distance to the nearer end."""
    index = np.arange(layers)
    return np.stack([index, np.minimum(index, layers - 1 - index)], axis=1).astype(float)


def spearman(a: Curve, b: Curve) -> float | None:
    """Spearman's rank correlation; None for a constant curve or fewer than 3 values."""
    return _pearson(rankdata(a), rankdata(b)) if len(a) >= 3 else None


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
    measures = np.apply_along_axis(rankdata, 0, depth(len(curve)))
    design = np.column_stack([np.ones(len(curve)), measures])
    return np.asarray(ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0])


def association(a: Curve, b: Curve) -> Association:
    """How two curves over the same layers agree, beyond what each owes to depth.

    Layers where either is NaN are left out. The p-value shifts one curve's depth residuals around
    the ring of layers, which keeps their smoothness; it is two-sided and at least 1 / layers.
    """
    both = np.isfinite(a) & np.isfinite(b)
    a, b = np.asarray(a)[both], np.asarray(b)[both]
    n = len(a)
    rho = spearman(a, b)
    if n < 5 or rho is None:
        return Association(rho, None, None, n)
    left_a, left_b = depth_residuals(a), depth_residuals(b)
    partial = _pearson(left_a, left_b)
    if partial is None:
        return Association(rho, None, None, n)
    shifted = np.array([left_a @ np.roll(left_b, s) for s in range(n)])
    reached = np.abs(shifted) >= np.abs(shifted[0]) * (1 - 1e-9)
    return Association(rho, partial, float(reached.mean()), n)


def _pearson(a: Curve, b: Curve) -> float | None:
    """Pearson's correlation; None when a curve has no variation beyond rounding."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    # Ranks are of the order of n, so a residual sum of squares below this is rounding alone.
    return float(a @ b / scale) if min(a @ a, b @ b) > 1e-9 * len(a) else None

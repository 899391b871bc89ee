"""How much of a layer's Gram a few feature dimensions hold.

A residual stream often has a handful of dimensions that are hundreds of times larger than the rest.
CKA between two layers is then about those dimensions and nothing else: with two such dimensions of
2048 planted, CKA between first and last layer was 0.002, and 0.55 without them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.numerics.grams import deviations

TOPS = (1, 5, 10)
"""How many of the largest dimensions are looked at."""


def largest_dimensions(
    layer: Float[Tensor, "samples width"], count: int, strata: Int[Tensor, " samples"] | None = None
) -> Int[Tensor, " dropped"]:
    """The ``count`` dimensions of greatest variance, greatest first."""
    return deviations(layer, strata).square().sum(dim=0).topk(count).indices


def energy_share(
    layer: Float[Tensor, "samples width"],
    dimensions: Int[Tensor, " dropped"],
    strata: Int[Tensor, " samples"] | None = None,
) -> float:
    """The share of the centred Gram's squared length that these dimensions alone would give.

    ||X_top X_top'||^2 / ||X X'||^2, between 0 and 1; 0 for a layer whose states are all equal.
    CKA weighs a direction by the square of its variance, and so does this.
    """
    features = deviations(layer, strata)
    top = features[:, dimensions]
    samples, width = features.shape
    whole = features @ features.T if samples < width else features.T @ features
    energy = float(whole.double().square().sum())
    return float((top.T @ top).double().square().sum()) / energy if energy > 0 else 0.0


def variance_between(
    layer: Float[Tensor, "samples width"], strata: Int[Tensor, " samples"]
) -> float:
    """The share of a layer's variance that lies between the means of the strata, 0 to 1."""
    within = _scatter(layer, strata)
    overall = _scatter(layer, torch.zeros_like(strata))
    return 1 - within / overall if overall > 0 else 0.0


def _scatter(layer: Float[Tensor, "samples width"], strata: Int[Tensor, " samples"]) -> float:
    """Sum of squared distances to the stratum means."""
    return float(deviations(layer.double(), strata).square().sum())

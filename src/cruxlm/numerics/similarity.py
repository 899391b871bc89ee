"""Linear CKA between all pairs of layers, debiased or biased, with its resampled replicates.

Every layer's Gram is formed once from features that were centred in float32. Flattened and stacked,
all pairs come from one matrix product, done in blocks of resampling groups: the block sums are all
that the value, the jackknife and the half-samples need, so uncertainty costs no further product.

Sources: Kornblith et al. 2019 (linear CKA); Song et al. 2012, equation 5 (unbiased HSIC); Szekely
and Rizzo 2014 (U-centring, the same estimator without its cancellation).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.numerics.grams import make_grid, tiles
from cruxlm.numerics.resampling import FEWEST, Resampling, jackknife_stderr

Estimator = Literal["debiased", "biased"]

MEMORY = 256 << 20
"""Bytes that one tile of stacked Grams may take."""


@dataclass(frozen=True)
class Similarity:
    """CKA between layers, and what it becomes when samples are left out."""

    values: Float[Tensor, "layers layers"]
    """CKA in float64; NaN outside the band and for a layer whose states are all equal."""
    stderr: Float[Tensor, "layers layers"] | None
    """Delete-a-group jackknife standard errors; None without groups."""
    left_out: Float[Tensor, "groups layers layers"] | None
    """CKA with one group left out, for errors of anything computed from CKA."""
    contributions: Float[Tensor, "groups groups layers layers"] | None
    """What each pair of groups adds to CKA, to first order; they sum to 0."""
    halves: Float[Tensor, "halves layers layers"] | None
    """CKA on each half-sample."""


def cka(
    states: Float[Tensor, "layers samples width"],
    *,
    estimator: Estimator = "debiased",
    strata: Int[Tensor, " samples"] | None = None,
    resampling: Resampling | None = None,
    band: int | None = None,
    drop: Int[Tensor, "layers dropped"] | None = None,
    memory: int = MEMORY,
) -> Similarity:
    """Linear CKA between layers over the same samples.

    ``strata`` removes the mean of each group of samples, not only the overall mean. ``band`` limits
    the pairs to layers at most that far apart. ``drop`` names feature dimensions to leave out in
    each layer. ``resampling`` adds standard errors, jackknife and half-sample replicates. A float64
    input is computed in float64, any other in float32 with sums in float64.

    Raises ``ValueError`` below 4 samples, where the debiased estimator is not defined.
    """
    samples = states.shape[1]
    if samples < FEWEST:
        raise ValueError(f"CKA needs at least {FEWEST} samples, got {samples}")
    if resampling is None:
        resampling = Resampling(
            torch.zeros(samples, dtype=torch.int64), 1, torch.zeros(0, 1, dtype=torch.bool)
        )
    sums = _block_sums(states, estimator, strata, resampling, band, drop, memory)
    total = sums.sum(dim=(0, 1))
    values = _normalised(total)
    if resampling.groups == 1:
        return Similarity(values, None, None, None, None)
    # The centring is that of all samples. Its change when a group leaves is of second order: the
    # doubly centred Gram is orthogonal to the additive terms that a new centring would bring.
    own = torch.diagonal(sums).permute(2, 0, 1)
    left_out = _normalised(total - 2 * sums.sum(dim=1) + own)
    picked = resampling.halves.to(sums)
    pairs = (picked[:, :, None] * picked[:, None, :]).flatten(1)
    within = (pairs @ sums.flatten(2).flatten(0, 1)).view(-1, *total.shape)
    contributions = _linearised(sums, total)
    stderr = jackknife_stderr(left_out, contributions)
    return Similarity(values, stderr, left_out, contributions, _normalised(within))


def _block_sums(
    states: Float[Tensor, "layers samples width"],
    estimator: Estimator,
    strata: Int[Tensor, " samples"] | None,
    resampling: Resampling,
    band: int | None,
    drop: Int[Tensor, "layers dropped"] | None,
    memory: int,
) -> Float[Tensor, "groups groups layers layers"]:
    """Sums of the product of two layers' centred Grams over each pair of groups of samples."""
    layers, groups = len(states), resampling.groups
    grid, rows_at_once = make_grid(resampling, layers, memory, states.element_size())
    sums = torch.zeros(groups, groups, layers, layers, dtype=torch.float64)
    parts = tiles(
        states, grid, rows_at_once, debiased=estimator == "debiased", strata=strata, drop=drop
    )
    for first, last, tile in parts:
        for row in range(first, last):
            # One row of blocks, from the diagonal on; what lies left of it stands mirrored above.
            start = (row - first) * grid.size
            strip = tile[:, start : start + grid.size, start:]
            blocks = strip.reshape(layers, grid.size, -1, grid.size).permute(2, 0, 1, 3).flatten(2)
            products = _products(blocks, band)
            group, others = grid.group[row], grid.group[row:]
            sums[group].index_add_(0, others, products)
            sums[:, group].index_add_(0, others[1:], products[1:])
    return sums


def _products(
    blocks: Float[Tensor, "blocks layers cells"], band: int | None
) -> Float[Tensor, "blocks layers layers"]:
    """Inner products between the layers' blocks: all pairs in one product, or the band alone."""
    if band is None:
        return (blocks @ blocks.mT).double()
    layers = blocks.shape[1]
    out = torch.full((len(blocks), layers, layers), torch.nan, dtype=torch.float64)
    for offset in range(min(band, layers - 1) + 1):
        pair = (blocks[:, : layers - offset] * blocks[:, offset:]).sum(-1).double()
        index = torch.arange(layers - offset)
        out[:, index, index + offset] = pair
        out[:, index + offset, index] = pair
    return out


def _normalised(
    products: Float[Tensor, "*batch layers layers"],
) -> Float[Tensor, "*batch layers layers"]:
    """Inner products of Grams over the product of their lengths; NaN for a Gram of zeros."""
    length = torch.diagonal(products, dim1=-2, dim2=-1).clamp_min(0).sqrt()
    scale = length[..., :, None] * length[..., None, :]
    return torch.where(scale > 0, products / scale, torch.nan)


def _linearised(
    sums: Float[Tensor, "groups groups layers layers"], total: Float[Tensor, "layers layers"]
) -> Float[Tensor, "groups groups layers layers"]:
    """Each block's first-order share in CKA = S_ij / sqrt(S_ii S_jj)."""
    values = _normalised(total)
    own = torch.diagonal(sums, dim1=2, dim2=3) / torch.diagonal(total)
    length = torch.diagonal(total).sqrt()
    relative = sums / (length[:, None] * length[None, :])
    return relative - values * (own[..., :, None] + own[..., None, :]) / 2

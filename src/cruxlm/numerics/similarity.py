"""Linear CKA between all pairs of layers, debiased or biased, with its resampled replicates.

Every layer's Gram is formed once from features that were centred in float32. Flattened and stacked,
all pairs come from one matrix product, done in blocks of resampling groups: the block sums are all
that the value, the jackknife and the half-samples need, so uncertainty costs no further product.

Sources: Kornblith et al. 2019 (linear CKA); Song et al. 2012, equation 5 (unbiased HSIC); Szekely
and Rizzo 2014 (U-centring, the same estimator without its cancellation).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

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


def centred(
    layer: Float[Tensor, "samples width"], strata: Int[Tensor, " samples"] | None = None
) -> Float[Tensor, "samples width"]:
    """Features less their mean (of each stratum), scaled to a mean squared norm of 1.

    CKA does not change with the scale; it keeps sums of squared Grams in range for any model.
    Centred twice: the first mean of features with a large offset is itself rounded in float32.
    """
    features = layer if layer.dtype == torch.float64 else layer.float()
    for _ in range(2):
        if strata is None:
            features = features - features.mean(dim=0, dtype=torch.float64).to(features)
        else:
            features = features - stratum_means(features, strata)[strata]
    scale = features.square().sum(dim=1).mean().sqrt()
    return features / scale if scale > 0 else features


def stratum_means(
    features: Float[Tensor, "samples width"], strata: Int[Tensor, " samples"]
) -> Float[Tensor, "strata width"]:
    """The mean of each stratum, summed in float64."""
    count = int(strata.max()) + 1
    sums = torch.zeros(count, features.shape[1], dtype=torch.float64)
    sums.index_add_(0, strata, features.double())
    sizes = torch.bincount(strata, minlength=count).clamp_min(1)
    return (sums / sizes[:, None]).to(features)


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
    layers, samples, width = states.shape
    groups = resampling.groups
    # Samples are put in the order of their groups, and each group is padded with zero rows to one
    # size, so that a tile of the Gram is a grid of equal blocks; zero rows add nothing to any sum.
    # A group too large for the memory bound is cut into parts, each a block of its own.
    work = torch.float64 if states.dtype == torch.float64 else torch.float32
    sizes = torch.bincount(resampling.member, minlength=groups)
    largest = int(sizes.max())
    rows_in_memory = max(1, memory // (2 * layers * groups * largest * work.itemsize))
    parts = math.ceil(largest / rows_in_memory)
    size = math.ceil(largest / parts)
    order = resampling.member.argsort(stable=True)
    slot = torch.cat([torch.arange(int(s)) + size * parts * g for g, s in enumerate(sizes)])
    grid = groups * parts
    padded = grid * size
    correct = _UCentring(strata, samples, order, slot, padded) if estimator == "debiased" else None

    step = max(1, min(grid, rows_in_memory // size))
    sums = torch.zeros(groups, groups, layers, layers, dtype=torch.float64)
    group_of = torch.arange(grid) // parts
    for first in range(0, grid, step):
        last = min(first + step, grid)
        rows, columns = slice(first * size, last * size), slice(first * size, padded)
        tile = torch.empty(layers, (last - first) * size, padded - first * size, dtype=work)
        for index in range(layers):
            layer = states[index]
            if drop is not None:
                layer = layer.index_fill(1, drop[index], 0)
            features = torch.zeros(padded, width, dtype=work)
            features[slot] = centred(layer, strata)[order]
            torch.mm(features[rows], features[columns].T, out=tile[index])
            if correct is not None:
                correct.apply(tile[index], features.square().sum(dim=1), rows, columns)
        blocks = tile.view(layers, last - first, size, grid - first, size)
        blocks = blocks.permute(1, 3, 0, 2, 4).reshape(last - first, grid - first, layers, -1)
        products = _products(blocks, band)
        above, left = group_of[first:last, None], group_of[first:]
        sums.index_put_((above, left), products, accumulate=True)
        beyond = products[:, last - first :].transpose(0, 1)
        sums.index_put_((group_of[last:, None], above.T), beyond, accumulate=True)
    return sums


def _products(
    blocks: Float[Tensor, "rows columns layers cells"], band: int | None
) -> Float[Tensor, "rows columns layers layers"]:
    """Inner products between the layers' blocks: all pairs in one product, or the band alone."""
    if band is None:
        return (blocks @ blocks.mT).double()
    layers = blocks.shape[2]
    out = torch.full((*blocks.shape[:2], layers, layers), torch.nan, dtype=torch.float64)
    for offset in range(min(band, layers - 1) + 1):
        pair = (blocks[:, :, : layers - offset] * blocks[:, :, offset:]).sum(-1).double()
        index = torch.arange(layers - offset)
        out[:, :, index, index + offset] = pair
        out[:, :, index + offset, index] = pair
    return out


class _UCentring:
    """U-centring of Gram tiles of centred features, in closed form from the squared row norms.

    The row sums of a centred Gram are zero, so those of the Gram without its diagonal are minus the
    squared norms s: K_ij + (s_i + s_j)/(m - 2) - sum(s)/((m - 1)(m - 2)) for i != j, 0 on the
    diagonal. With strata this holds inside each one (m its size); pairs from different strata are
    unbiased as they stand, those inside a stratum of fewer than 4 samples are left out.
    """

    def __init__(
        self,
        strata: Int[Tensor, " samples"] | None,
        samples: int,
        order: Int[Tensor, " samples"],
        slot: Int[Tensor, " samples"],
        padded: int,
    ) -> None:
        of_sample = torch.zeros(samples, dtype=torch.int64) if strata is None else strata
        # Padding rows belong to stratum -1: they match each other, and are zeroed with the rest.
        self.stratum = torch.full((padded,), -1)
        self.stratum[slot] = of_sample[order]
        self.sizes = torch.bincount(of_sample)
        self.whole = strata is None and padded == samples

    def apply(
        self, tile: Float[Tensor, "rows columns"], norms: Tensor, rows: slice, columns: slice
    ) -> None:
        """Correct one layer's tile in place; ``norms`` are the squared norms of all rows."""
        real = self.stratum >= 0
        index = self.stratum.clamp_min(0)
        size = self.sizes[index].to(norms)
        totals = torch.zeros(len(self.sizes), dtype=norms.dtype).index_add_(0, index, norms)
        per_row = torch.where(real & (size >= FEWEST), norms / (size - 2).clamp_min(1), 0)
        overall = torch.where(
            real, totals[index] / ((size - 1) * (size - 2)).clamp_min(1), torch.zeros_like(norms)
        )
        if self.whole:
            tile.add_((per_row - overall)[rows, None]).add_(per_row[columns])
        else:
            same = (self.stratum[rows, None] == self.stratum[columns]) & real[rows, None]
            tile.add_(((per_row - overall)[rows, None] + per_row[columns]).mul_(same))
            tile.masked_fill_(same & (size < FEWEST)[rows, None], 0)
        # Tiles start on the diagonal: row i of the tile is column i.
        torch.diagonal(tile).zero_()


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

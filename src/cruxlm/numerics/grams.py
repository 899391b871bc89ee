"""Centred Grams of many layers, tile by tile, in a grid of blocks of samples.

A Gram is symmetric: only its upper triangle of blocks is formed. Everything that turns a product
of features into a centred Gram is put under the product (``addmm``): a tile is written once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.numerics.resampling import FEWEST, Resampling

FEWEST_BLOCKS = 4
"""Blocks along a side of the grid: with 4, the upper triangle is 5/8 of the work."""


def deviations(
    layer: Float[Tensor, "samples width"],
    strata: Int[Tensor, " samples"] | None = None,
    out: Float[Tensor, "samples width"] | None = None,
) -> Float[Tensor, "samples width"]:
    """Features less their mean (of each stratum), float32 unless they are float64.

    The mean is taken off twice: rounded to float32, one a thousand times the spread leaves an
    offset of its own. ``out`` is written to when given.
    """
    features = layer if layer.dtype == torch.float64 else layer.float()
    if strata is None:
        out = torch.sub(features, features.mean(dim=0, keepdim=True), out=out)
        return out.sub_(out.mean(dim=0, keepdim=True))
    out = torch.sub(features, stratum_means(features, strata)[strata], out=out)
    return out.sub_(stratum_means(out, strata)[strata])


def stratum_means(
    features: Float[Tensor, "samples width"], strata: Int[Tensor, " samples"]
) -> Float[Tensor, "strata width"]:
    """The mean of each stratum, summed in float64."""
    count = int(strata.max()) + 1
    sums = torch.zeros(count, features.shape[1], dtype=torch.float64)
    sums.index_add_(0, strata, features.double())
    sizes = torch.bincount(strata, minlength=count).clamp_min(1)
    return (sums / sizes[:, None]).to(features)


@dataclass(frozen=True)
class Grid:
    """Samples in the order of their groups, each group padded to whole blocks of one size.

    Padding rows are zero and add nothing to any sum.
    """

    order: Int[Tensor, " samples"]
    """The sample that stands in each filled place."""
    slot: Int[Tensor, " samples"]
    """The filled places."""
    size: int
    """Samples in a block."""
    group: Int[Tensor, " blocks"]
    """Group of each block."""

    @property
    def padded(self) -> int:
        """All places."""
        return self.size * len(self.group)

    @property
    def whole(self) -> bool:
        """Whether places are samples: nothing padded, nothing moved."""
        return bool(len(self.order) == self.padded and (self.order.diff() == 1).all())


def make_grid(resampling: Resampling, layers: int, memory: int, itemsize: int) -> tuple[Grid, int]:
    """A grid for the groups, and how many of its rows of blocks fit ``memory`` at once."""
    groups = resampling.groups
    sizes = torch.bincount(resampling.member, minlength=groups)
    largest = int(sizes.max())
    rows_in_memory = max(1, memory // (2 * layers * groups * largest * itemsize))
    parts = max(math.ceil(largest / rows_in_memory), math.ceil(FEWEST_BLOCKS / groups))
    size = math.ceil(largest / parts)
    slot = torch.cat([torch.arange(int(s)) + size * parts * g for g, s in enumerate(sizes)])
    order = resampling.member.argsort(stable=True)
    grid = Grid(order, slot, size, torch.arange(groups * parts) // parts)
    return grid, max(1, rows_in_memory // size)


def tiles(
    states: Float[Tensor, "layers samples width"],
    grid: Grid,
    rows_at_once: int,
    *,
    debiased: bool,
    strata: Int[Tensor, " samples"] | None,
    drop: Int[Tensor, "layers dropped"] | None,
) -> Iterator[tuple[int, int, Float[Tensor, "layers rows columns"]]]:
    """Rows of blocks of every layer's centred Gram: first and last block row, and the tile.

    A tile's columns begin at its first row; below its diagonal of blocks it holds anything. Each
    layer is scaled to a mean squared norm of 1, which CKA does not see and which keeps sums of
    squares in range for any model. The buffer is used again for the next tile.
    """
    layers, _, width = states.shape
    work = torch.float64 if states.dtype == torch.float64 else torch.float32
    blocks, size = len(grid.group), grid.size
    correction = UCentring(strata, grid) if debiased else None
    # A product of a quarter of the rows runs at full speed, one of a single block may not.
    chunk = size * math.ceil(min(rows_at_once, blocks) / FEWEST_BLOCKS)
    features, whole = torch.zeros(grid.padded, width, dtype=work), grid.whole
    for first in range(0, blocks, rows_at_once):
        last = min(first + rows_at_once, blocks)
        start, stop = first * size, last * size
        tile = torch.empty(layers, stop - start, grid.padded - start, dtype=work)
        for index in range(layers):
            layer = states[index]
            if drop is not None:
                layer = layer.index_fill(1, drop[index], 0)
            if whole:
                deviations(layer, strata, out=features)
            else:
                features[grid.slot] = deviations(layer, strata)[grid.order]
            norms = torch.linalg.vector_norm(features, dim=1).square()
            total = float(norms.sum())
            scale = len(grid.order) / total if total > 0 else 1.0
            for row in range(start, stop, chunk):
                rows, columns = slice(row, min(row + chunk, stop)), slice(row, grid.padded)
                out = tile[index, row - start : rows.stop - start, row - start :]
                left, right = features[rows], features[columns].T
                if correction is None:
                    torch.mm(left, right, out=out).mul_(scale)
                else:
                    correction.begin(out, norms * scale, rows, columns)
                    out.addmm_(left, right, alpha=scale)
                    correction.finish(out, rows, columns)
        yield first, last, tile


class UCentring:
    """U-centring of Grams of centred features, in closed form from the squared row norms.

    The row sums of a centred Gram are zero, so those of the Gram without its diagonal are minus the
    squared norms s: K_ij + (s_i + s_j)/(m - 2) - sum(s)/((m - 1)(m - 2)) for i != j, 0 on the
    diagonal. With strata this holds inside each one (m its size); pairs from different strata are
    unbiased as they stand, those inside a stratum of fewer than 4 samples are left out.
    """

    def __init__(self, strata: Int[Tensor, " samples"] | None, grid: Grid) -> None:
        of_sample = torch.zeros(len(grid.order), dtype=torch.int64) if strata is None else strata
        # Padding belongs to a stratum of its own.
        self.stratum = torch.full((grid.padded,), -1)
        self.stratum[grid.slot] = of_sample[grid.order]
        self.real = self.stratum >= 0
        self.index = self.stratum.clamp_min(0)
        self.sizes = torch.bincount(of_sample)
        self.uniform = strata is None and bool(self.real.all())
        self.small = bool((self.sizes < FEWEST).any())

    def begin(
        self,
        tile: Float[Tensor, "rows columns"],
        norms: Float[Tensor, " places"],
        rows: slice,
        columns: slice,
    ) -> None:
        """Write what is to be added to the product of features."""
        size = self.sizes[self.index].to(norms)
        totals = torch.zeros(len(self.sizes), dtype=norms.dtype).index_add_(0, self.index, norms)
        counted = self.real & (size >= FEWEST)
        each = torch.where(counted, norms / (size - 2).clamp_min(1), 0)
        overall = totals[self.index] / ((size - 1) * (size - 2)).clamp_min(1)
        own = each - torch.where(counted, overall, 0)
        torch.add(own[rows, None], each[columns], out=tile)
        if not self.uniform:
            tile.mul_((self.stratum[rows, None] == self.stratum[columns]) & self.real[rows, None])

    def finish(self, tile: Float[Tensor, "rows columns"], rows: slice, columns: slice) -> None:
        """Zero what has no unbiased value: the diagonal, and pairs inside very small strata."""
        if self.small:
            same = self.stratum[rows, None] == self.stratum[columns]
            few = (self.sizes[self.index] < FEWEST)[rows, None]
            tile.masked_fill_(same & few, 0)
        # A tile starts on the diagonal: its row i is its column i.
        torch.diagonal(tile).zero_()

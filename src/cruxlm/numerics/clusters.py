"""Clusters of states, and how much two partitions of the same samples know of each other."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import entr
from torch import Tensor

from cruxlm.runtime.errors import MissingExtraError

STARTS = 10
"""Times that k-means begins anew; the tightest clusters are kept."""

DIGITS = 9
"""Digits after the point of scaled states: rounding in float64 is far below."""

Labels = Int[np.ndarray, " samples"]


def cluster(states: Float[Tensor, "samples width"], k: int, seeds: Sequence[int]) -> list[Labels]:
    """The cluster of each sample by k-means, once for each seed.

    Every dimension is centred and scaled to one standard deviation first: a few dimensions of a
    residual stream are hundreds of times larger than the others and would decide alone. One that
    is constant stays zero.

    Raises:
        MissingExtraError: When scikit-learn is not installed.
        ValueError: When there are fewer different states than clusters.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise MissingExtraError(
            "grouping by k-means needs scikit-learn: pip install 'cruxlm[clusters]'"
        ) from error
    wide = states.double()
    wide = wide - wide.mean(dim=0)
    spread = wide.square().mean(dim=0).sqrt()
    # Rounded, so that another scale or mean of the states gives the same clusters to the last.
    scaled = (wide / torch.where(spread > 0, spread, 1.0)).numpy().round(DIGITS)
    different = len(np.unique(scaled, axis=0))
    if different < k:
        raise ValueError(f"{different} different states and {k} clusters")
    return [KMeans(k, n_init=STARTS, random_state=seed).fit(scaled).labels_ for seed in seeds]


def shared_information(one: Labels, other: Labels) -> float:
    """Adjusted mutual information: 1 for equal partitions, 0 on average for independent ones.

    Vinh, Epps and Bailey 2010, with the mean of the two entropies. Unadjusted, independent
    partitions of 500 samples into 50 clusters have a normalised mutual information of 0.42.
    """
    from sklearn.metrics.cluster import expected_mutual_information

    samples, columns = len(one), int(other.max()) + 1
    table = np.bincount(one * columns + other, minlength=columns * (int(one.max()) + 1))
    table = table.reshape(-1, columns)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    joint, rows, cols = (
        float(entr(table.sum(axis) / samples).sum()) for axis in ((), 1, 0)
    )  # entropies
    entropy = (rows + cols) / 2
    if entropy == 0:
        return 1.0  # two partitions of one part each
    expected = float(expected_mutual_information(table, samples))
    shared = rows + cols - joint - expected
    # Where every sample is a part of its own, nothing is left above what is expected.
    return shared / max(entropy - expected, float(np.finfo(float).eps))


def elbow(curve: Float[np.ndarray, " blocks"]) -> int:
    """Where a curve that falls stops falling: the block of its largest second difference.

    ``ValueError`` for fewer than three blocks.
    """
    if len(curve) < 3:
        raise ValueError(f"an elbow of {len(curve)} blocks: three are needed")
    return 1 + int(np.argmax(np.diff(curve, 2)))

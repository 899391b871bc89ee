"""The groups that rows are screened in: those of one response, or clusters of states."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.numerics.clusters import cluster
from cruxlm.numerics.features import Labels

FEWEST = 50
"""Trusted rows of a group: from fewer, the spread of their similarities is not known."""
MOST = 8
"""Clusters, at most, of the rows whose response is not that of a group."""

States = Float[Tensor, "samples width"]


@dataclass(frozen=True)
class Groups:
    """Groups of trusted rows, and how to find the group of any other row."""

    names: tuple[str, ...]
    """What each is called."""
    labels: Labels
    """The group of each trusted row; -1 for one that is like too few others."""
    common: dict[str, int]
    """Groups of rows with one key."""
    first: int
    """The first group that a row with another key may belong to: the clusters, else all groups."""
    centroids: Float[Tensor, "groups width"]
    """Middles of the scaled states of the groups from ``first`` on."""
    middle: Float[Tensor, " width"]
    """What is taken off a state first."""
    spread: Float[Tensor, " width"]
    """What it is divided by."""

    def of(self, keys: Sequence[str], states: States) -> Labels:
        """The group of each row: that of its key, else the one with the nearest middle."""
        near = torch.cdist((states - self.middle) / self.spread, self.centroids).argmin(dim=1)
        found = near + self.first
        for place, key in enumerate(keys):
            found[place] = self.common.get(key, found[place])
        return found


def grouped(keys: Sequence[str], states: States, what: str, seed: int) -> Groups:
    """Groups of trusted rows.

    Rows of one key are a group where there are at least ``FEWEST``. The others are put into
    clusters by k-means of their states, each as large; where there are too few others even for one,
    each is later compared with the nearest group.

    Args:
        keys: What a row has in common with others of its group: its response.
        states: The state of each row at the last token of its prompt, after the last block: what
            the model writes first is read from it.
        what: What a key is, in the name of a group: ``response``.
        seed: Seed of k-means.
    """
    counts = Counter(keys)
    large = sorted((key for key, n in counts.items() if n >= FEWEST), key=lambda k: (-counts[k], k))
    common = {key: number for number, key in enumerate(large)}
    labels = torch.tensor([common.get(key, -1) for key in keys])
    rest = (labels < 0).nonzero().flatten()
    names = [f"{what} {key!r}" for key in large]
    clustered = len(rest) >= FEWEST or not common
    read = states[rest] if clustered else states
    middle = read.mean(dim=0)
    spread = (read - middle).square().mean(dim=0).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    first = len(names) if clustered else 0
    if clustered:
        found = _clusters((states[rest] - middle) / spread, seed)
        labels[rest] = found + first
        parts = int(found.max()) + 1
        other = f"other {what}s" if common else "all rows"
        names += [other if parts == 1 else f"{other}, cluster {n + 1}" for n in range(parts)]
    scaled = (states - middle) / spread
    centroids = [scaled[labels == group].mean(dim=0) for group in range(first, len(names))]
    return Groups(tuple(names), labels, common, first, torch.stack(centroids), middle, spread)


def _clusters(scaled: States, seed: int) -> Labels:
    """Clusters of at least ``FEWEST`` samples, numbered from 0.

    Each sample is in the cluster whose middle, without the sample itself, is nearest: as that of
    any new sample is found.
    """
    alone = torch.zeros(len(scaled), dtype=torch.long)
    wanted = min(MOST, len(scaled) // (2 * FEWEST))
    if wanted < 2:
        return alone
    try:
        labels = torch.from_numpy(cluster(scaled, wanted, [seed])[0]).long()
    except ValueError:  # fewer different states than clusters
        return alone
    sizes = labels.bincount(minlength=wanted)
    while True:
        kept = (sizes >= FEWEST).nonzero().flatten()
        if len(kept) < 2:
            return alone
        sums = torch.stack([scaled[labels == group].sum(dim=0) for group in kept])
        own = labels[:, None] == kept
        counts = own.sum(dim=0) - own.long()
        middles = (sums[None] - own[:, :, None] * scaled[:, None]) / counts[:, :, None]
        labels = (scaled[:, None] - middles).square().sum(dim=2).argmin(dim=1)
        sizes = labels.bincount(minlength=len(kept))
        if int(sizes.min()) >= FEWEST:
            return labels

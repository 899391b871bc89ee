"""Which samples lie apart from the trusted ones of their group, at the blocks where groups form.

Layer-wise feature analysis: Jebreel, Domingo-Ferrer and Li, "Defending against backdoor attacks by
layer-wise feature analysis", PAKDD 2023. A poisoned sample has the response of its group for
another reason than the group's trusted samples, so it lies apart from them where the group forms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

SMALLEST = 1e-6
"""Least spread of similarities: below it they differ by their rounding in float32."""
NORMAL = 1.4826
"""A normal distribution's standard deviation in median absolute deviations."""
REACH = 2
"""Blocks before the critical one that are read as well."""

Labels = Int[Tensor, " samples"]
"""The group of each sample; -1 for none."""


@dataclass(frozen=True)
class Manner:
    """How similarities are read."""

    centred: bool = True
    """Whether the centre of all groups is taken off: states of language models have a large common
    part, beside which all cosines are near 1."""
    weighted: bool = False
    """Whether a block counts by how much its similarity rises, else as much as the others."""
    held_out: bool = True
    """Whether a trusted sample is compared with its group without itself."""
    robust: bool = False
    """Whether middles are medians: for samples among which there may be poisoned ones."""


@dataclass(frozen=True)
class Profile:
    """A group of trusted samples."""

    similarity: tuple[float, ...]
    """At each block, the mean cosine of its samples with their centroid."""
    blocks: tuple[int, ...]
    """The critical block, last, and up to two before it."""
    weights: tuple[float, ...]
    """What each of these counts; they add up to 1."""
    centre: Float[Tensor, "chosen width"]
    """What is taken off all states there."""
    centroid: Float[Tensor, "chosen width"]
    """The middle of the group's states there."""
    middle: float
    """Middle of its samples' similarities."""
    spread: float
    """Their standard deviation."""
    own: Float[Tensor, " members"]
    """Its own samples' scores."""

    @property
    def block(self) -> int:
        """The critical block: where the similarity rises most, in the second half."""
        return self.blocks[-1]

    def scores(self, states: Float[Tensor, "blocks samples width"]) -> Float[Tensor, " samples"]:
        """How many standard deviations samples are above the middle of the group's own."""
        parts = zip(self.blocks, self.weights, self.centre, self.centroid, strict=True)
        summed = sum(
            weight * cosine_similarity(states[block] - centre, (middle - centre)[None])
            for block, weight, centre, middle in parts
        )
        return (torch.as_tensor(summed) - self.middle) / self.spread


def profiles(
    states: Float[Tensor, "blocks samples width"], labels: Labels, manner: Manner
) -> list[Profile]:
    """The profile of each group of trusted samples, by its number.

    A single group is not centred, whatever the manner: its own middle would be taken off, and
    nothing be left. Raises ``ValueError`` for fewer than two blocks or a group of fewer than three.
    """
    if len(states) < 2:
        raise ValueError("a rise of similarity takes two blocks or more")
    groups = [(labels == group).nonzero().flatten() for group in range(int(labels.max()) + 1)]
    if min(map(len, groups)) < 3:
        raise ValueError("a group of trusted samples needs three or more")
    curves: list[list[Tensor]] = [[] for _ in groups]
    places: list[list[tuple[Tensor, Tensor]]] = [[] for _ in groups]
    for block in states:  # one at a time: a copy of all would be as large as they are
        centroids = torch.stack([_middle(block[members], manner) for members in groups])
        centre = centroids.mean(dim=0)
        if not manner.centred or len(groups) == 1:
            centre = torch.zeros_like(centre)
        for group, members in enumerate(groups):
            shared = len(groups) if centre.any() else 0
            found = _similarities(block[members], centre, centroids[group], shared, manner)
            curves[group].append(found)
            places[group].append((centre, centroids[group]))
    return [_profile(torch.stack(c), p, manner) for c, p in zip(curves, places, strict=True)]


def critical_block(similarity: Sequence[float]) -> int:
    """Where a curve over blocks rises most from the block before, in its second half."""
    first = max(1, len(similarity) // 2)
    rises = [similarity[b] - similarity[b - 1] for b in range(first, len(similarity))]
    return first + max(range(len(rises)), key=rises.__getitem__)


def needed(rate: float) -> int:
    """Fewest trusted samples by which a share of ``rate`` can be told apart."""
    return math.ceil(1 / rate - 1e-9) - 1


def quantile_threshold(trusted: Float[Tensor, " trusted"], rate: float) -> float:
    """The score below which a new sample's conformal p-value is at most ``rate``.

    A sample that is exchangeable with the trusted ones falls below it with a probability of at most
    ``rate``, whatever their distribution (Vovk, Gammerman and Shafer, "Algorithmic learning in a
    random world", 2005). ``ValueError`` for fewer than ``needed`` trusted samples.
    """
    place = math.floor(rate * (len(trusted) + 1) + 1e-9)
    if place < 1:
        raise ValueError(f"{len(trusted)} trusted samples and a rate of {rate:g}")
    return float(trusted.sort().values[place - 1])


def _middle(states: Float[Tensor, "samples width"], manner: Manner) -> Float[Tensor, " width"]:
    return states.median(dim=0).values if manner.robust else states.mean(dim=0)


def _similarities(
    states: Float[Tensor, "samples width"],
    centre: Float[Tensor, " width"],
    centroid: Float[Tensor, " width"],
    shared: int,
    manner: Manner,
) -> Float[Tensor, " samples"]:
    """Cosines of samples with their group's centroid, off the centre of ``shared`` groups."""
    if not manner.held_out or manner.robust:
        return cosine_similarity(states - centre, (centroid - centre)[None])
    without = (centroid * len(states) - states) / (len(states) - 1)
    # The centre is the mean of the groups' centroids, and one of them has lost the sample.
    centres = centre + (without - centroid) / shared if shared else centre
    return cosine_similarity(states - centres, without - centres)


def _profile(
    similarities: Float[Tensor, "blocks members"],
    places: Sequence[tuple[Tensor, Tensor]],
    manner: Manner,
) -> Profile:
    middles = similarities.median(dim=1).values if manner.robust else similarities.mean(dim=1)
    curve = [float(value) for value in middles]
    critical = critical_block(curve)
    chosen = list(range(max(0, critical - REACH), critical + 1))
    rises = [max(0.0, curve[b] - curve[b - 1]) if b else 0.0 for b in chosen]
    weights = torch.tensor(rises if manner.weighted and any(rises) else [1.0] * len(chosen))
    weights /= weights.sum()
    summed = (weights[:, None] * similarities[chosen]).sum(dim=0)
    middle, spread, own = _standardised(summed, manner)
    return Profile(
        similarity=tuple(curve),
        blocks=tuple(chosen),
        weights=tuple(weights.tolist()),
        centre=torch.stack([places[block][0] for block in chosen]),
        centroid=torch.stack([places[block][1] for block in chosen]),
        middle=middle,
        spread=spread,
        own=own,
    )


def _standardised(values: Float[Tensor, " members"], manner: Manner) -> tuple[float, float, Tensor]:
    """Middle and spread of values, and the values on that scale; each off the others' if held out.

    An outlier among fifty is at most seven deviations of all fifty away from their mean, and any
    number of those of the other 49. New samples are compared as the latter.
    """
    if manner.robust:
        middle = values.median()
        spread = (NORMAL * (values - middle).abs().median()).clamp_min(SMALLEST)
        return float(middle), float(spread), (values - middle) / spread
    wide, count = values.double(), len(values)
    middle = wide.mean()
    square = (wide - middle).square()
    spread = square.mean().sqrt().clamp_min(SMALLEST)
    if not manner.held_out:
        return float(middle), float(spread), ((wide - middle) / spread).float()
    others = middle + (middle - wide) / (count - 1)
    variance = (square.sum() - square * count / (count - 1)) / (count - 1)
    own = (wide - others) / variance.clamp_min(0).sqrt().clamp_min(SMALLEST)
    return float(middle), float(spread), own.float()

"""Clusters: blocks where states change the clusters that they lie in.

Nepal et al., "Layer Importance for Mathematical Reasoning is Forged in Pre-Training and Invariant
after Post-Training", 2025: normalised mutual information of clusters falls, like an elbow, near the
blocks that mathematics needs. Here it is adjusted for chance, with the floor that two runs of
k-means on the same states set.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from cruxlm.criteria.descriptor import Criterion, Measured, Outcome
from cruxlm.numerics.clusters import Labels, cluster, elbow, shared_information
from cruxlm.numerics.resampling import Resampling, jackknife_stderr
from cruxlm.runtime.errors import OptionError

Clusters = Sequence[Sequence[Labels]]
"""Labels of every sample after each block, by seed."""
Picked = Bool[np.ndarray, " samples"]


def score_clusters(measured: Measured, *, k: int, seeds: int) -> Outcome:
    """What a block changes of its input's clusters, beyond what k-means itself would.

    For a block with input layer a and output layer b: the information that two runs of k-means
    share on one layer (mean of a and b), less what a run on a shares with one on b. Where what
    enters block 0 has no k different states (the last token of a chat), block 0 has no score.
    """
    if k < 2 or seeds < 2:
        raise OptionError(f"clusters need k and seeds of 2 or more, not k={k} and seeds={seeds}")
    layers, samples, _ = measured.states.shape
    found: Clusters = [_clustered(measured, layer, k, seeds) for layer in range(1, layers)]
    try:
        entering: Sequence[Labels] = cluster(measured.states[0], k, range(seeds))
    except ValueError:
        entering = []

    def changed(picked: Picked) -> Float[np.ndarray, " blocks"]:
        held = [[labels[picked] for labels in layer] for layer in (entering, *found)]
        floor = np.array([_between(layer, layer) for layer in held])
        apart = np.array([_between(a, b) for a, b in pairwise(held)])
        return np.asarray((floor[:-1] + floor[1:]) / 2 - apart)

    def from_first(picked: Picked) -> Float[np.ndarray, " layers"]:
        first = [labels[picked] for labels in entering]
        return np.array([_between(first, [own[picked] for own in layer]) for layer in found])

    resampling = measured.resampling
    whole = np.ones(samples, dtype=bool)
    stderr = halves = None
    if resampling.groups > 1:
        left_out = _replicates(changed, resampling, ~torch.eye(resampling.groups, dtype=torch.bool))
        stderr = jackknife_stderr(torch.from_numpy(left_out)).numpy()
        halves = _replicates(changed, resampling, resampling.halves)
    series = _with_labels(found, measured.labels)
    evidence: dict[str, Any] = {"clusters": k, "seeds": seeds, "elbow": None, "elbow_halves": None}
    if entering:
        series["with_first"] = from_first(whole)
        evidence |= _elbow(from_first, whole, resampling)
    return Outcome(changed(whole), stderr, halves, series, evidence=evidence)


def _clustered(measured: Measured, layer: int, k: int, seeds: int) -> list[Labels]:
    try:
        return cluster(measured.states[layer], k, range(seeds))
    except ValueError as error:
        said = f"after block {layer - 1}: {error}; take fewer clusters or more prompts"
        raise OptionError(said) from error


def _between(a: Sequence[Labels], b: Sequence[Labels]) -> float:
    """Mean information between runs with different seeds on two layers (or on one, twice).

    NaN where a layer has no clusters.
    """
    if not (len(a) and len(b)):
        return np.nan
    pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if (i < j if a is b else i != j)]
    return float(np.mean([shared_information(a[i], b[j]) for i, j in pairs]))


def _replicates(
    curve: Callable[[Picked], Float[np.ndarray, " blocks"]],
    resampling: Resampling,
    groups: Bool[torch.Tensor, "replicates groups"],
) -> Float[np.ndarray, "replicates blocks"]:
    """A curve on the samples of some groups, for each choice of groups. Clusters stay."""
    return np.array([curve(kept[resampling.member].numpy()) for kept in groups])


def _with_labels(
    found: Clusters, labels: Mapping[str, Any]
) -> dict[str, Float[np.ndarray, " blocks"]]:
    """What clusters after each block know of the token that was read, and of its group."""
    series = {}
    for name, held in labels.items():
        known = held.numpy()
        if len(np.unique(known)) > 1:
            shared = [[shared_information(own, known) for own in layer] for layer in found]
            series[f"with_{name}"] = np.array(shared).mean(axis=1)
    return series


def _elbow(
    from_first: Callable[[Picked], Float[np.ndarray, " layers"]],
    whole: Picked,
    resampling: Resampling,
) -> dict[str, Any]:
    """The block where the clusters stop leaving those of the input, and how often halves say so."""
    curve = from_first(whole)
    if len(curve) < 3:
        return {}
    block = elbow(curve)
    others = _replicates(from_first, resampling, resampling.halves)
    share = np.mean([elbow(curve) == block for curve in others]) if len(others) else None
    return {"elbow": block, "elbow_halves": None if share is None else float(share)}


CLUSTERS = Criterion(
    name="clusters",
    title="Where do states change the clusters that they lie in?",
    unit="block",
    needs=frozenset({"states"}),
    cost="one forward pass, and k-means on each layer",
    invariances=frozenset({"scale", "layer_scale", "shift"}),
    citation=(
        "Nepal et al.: Layer Importance for Mathematical Reasoning is Forged in Pre-Training and "
        "Invariant after Post-Training. 2025, arXiv:2506.22638"
    ),
    presets={"default": {"k": 20, "seeds": 2}},
    score=score_clusters,
    centres=False,
)
"""The criterion ``clusters``."""

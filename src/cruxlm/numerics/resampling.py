"""Subsamples without replacement: which samples are left out together, and what that says.

Nothing here draws with replacement. A sample that stands twice puts its self-similarity off the
Gram's diagonal, which the debiased estimator relies on being free of it: at d = 4096 and n = 300 a
bootstrap turns a debiased CKA of 0.0007 between independent clouds into 0.93.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student_t
from torch import Tensor

GROUPS = 20
"""Groups of the delete-a-group jackknife: enough for 19 degrees of freedom."""
HALVES = 200
"""Half-samples from which the stability of a selection is counted."""
FEWEST = 4
"""Fewest samples for which the debiased estimator is defined."""


@dataclass(frozen=True)
class Resampling:
    """A deal of the samples into groups, and half-samples made of whole groups."""

    member: Int[Tensor, " samples"]
    """The group of each sample, 0 to ``groups - 1``."""
    groups: int
    """Number of groups; 1 when there are too few samples to leave any out."""
    halves: Bool[Tensor, "halves groups"]
    """The groups in each half-sample; no rows when a half would be too small."""


def deal(
    clusters: Sequence[int], *, groups: int = GROUPS, halves: int = HALVES, seed: int = 0
) -> Resampling:
    """Deal samples into groups at random, keeping the samples of one cluster together.

    ``clusters`` holds one integer a sample (the prompt that a token came from; all different when
    samples are prompts): what depends on each other is left out together.
    """
    n = len(clusters)
    names = {name: place for place, name in enumerate(sorted(set(clusters)))}
    cluster_of = torch.tensor([names[name] for name in clusters])
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(names), generator=generator)
    count = min(groups, len(names))
    dealt = torch.empty_like(order)
    dealt[order] = torch.arange(len(names)) % count
    member = dealt[cluster_of]
    sizes = torch.bincount(member, minlength=count)
    if n - int(sizes.max()) < FEWEST or count < 2:
        return Resampling(torch.zeros_like(member), 1, torch.zeros(0, 1, dtype=torch.bool))
    half = count // 2
    if int(sizes.sort().values[:half].sum()) < FEWEST:
        return Resampling(member, count, torch.zeros(0, count, dtype=torch.bool))
    draws = torch.rand(halves, count, generator=generator).argsort(dim=1) < half
    return Resampling(member, count, draws)


def jackknife_stderr(
    left_out: Float[Tensor, "groups *shape"],
    contributions: Float[Tensor, "groups groups *shape"] | None = None,
) -> Float[Tensor, "*shape"]:
    """Standard error from delete-a-group replicates (one replicate a group left out).

    The variance is Tukey's (G - 1)/G * sum of squared deviations. For a statistic of pairs it is
    too large by the interaction of the groups (Efron and Stein 1981), twofold for independent
    clouds, whose CKA has no other variance. ``contributions`` (what each pair of groups adds to the
    statistic, linearised, symmetric) gives that interaction's size, and it is taken off.
    """
    groups = left_out.shape[0]
    spread = (left_out - left_out.mean(dim=0)).square().sum(dim=0) * (groups - 1) / groups
    if contributions is None or groups <= FEWEST:
        return spread.sqrt()
    # Off the diagonal, contribution = constant + row effect + column effect + interaction.
    own = torch.diagonal(contributions).movedim(-1, 0)
    rows = contributions.sum(dim=1) - own
    mean = rows.sum(dim=0) / (groups * (groups - 1))
    effect = (rows - (groups - 1) * mean) / (groups - 2)
    rest = contributions - effect[:, None] - effect[None, :] - mean
    squares = rest.square().sum(dim=(0, 1)) - torch.diagonal(rest).square().sum(dim=-1)
    # A pair counts twice in the statistic: its variance is 4 times that of one entry.
    pair = 4 * (squares / 2) / (groups * (groups - 3) / 2)
    excess = pair * groups**2 * (groups - 1) / (2 * (groups - 2))
    least = pair * groups * (groups - 1) / 2
    return torch.maximum(spread - excess, least).sqrt()


def interval_halfwidth(groups: int, level: float = 0.95) -> float:
    """Standard errors either side of a value in an interval of this level: Student's t, G - 1."""
    return float(student_t.ppf((1 + level) / 2, groups - 1))

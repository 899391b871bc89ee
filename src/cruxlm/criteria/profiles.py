"""Do several models need the same blocks? Their curves of one criterion, compared without block 0.

Block 0 leads the profile of almost any model, so that it makes any two of them look alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cruxlm.criteria.agreement import verdict
from cruxlm.numerics.ranks import Curve, TopOverlap, association, spearman, top_overlap
from cruxlm.runtime.errors import OptionError


@dataclass(frozen=True)
class ProfilePair:
    """Two models' curves."""

    a: str
    """Name of the one."""
    b: str
    """Name of the other."""
    rho: float | None
    """Spearman's correlation over all blocks but block 0; None when a curve is constant."""
    rho_with_first: float | None
    """The same with block 0."""
    partial: float | None
    """``rho`` given depth; None when depth explains a curve."""
    p: float | None
    """Share of circular shifts that reach ``partial``."""
    verdict: str
    """Whether they agree beyond depth."""
    top: TopOverlap
    """What their highest blocks have in common, block 0 not among them."""


def compare_profiles(profiles: Mapping[str, Curve], k: int) -> list[ProfilePair]:
    """Every pair of models.

    Blocks where either has no value (NaN) are left out of a pair. Give the curves of a criterion
    that sees no task (``weight_change``, ``block_influence``) as well for comparison: models of one
    base agree in those too.

    Args:
        profiles: A curve for each model, such as the scores of ``ablation``: one value a block.
        k: How many of the highest blocks to compare.

    Raises:
        OptionError: For fewer than two models, different numbers of blocks, or a ``k`` that is more
            than the blocks that two models have values for.
    """
    depths = {name: len(curve) for name, curve in profiles.items()}
    if len(depths) < 2 or len(set(depths.values())) > 1:
        said = ", ".join(f"{name} ({blocks} blocks)" for name, blocks in depths.items())
        raise OptionError(
            f"profiles are compared of two or more models of one depth: {said or 'none'}"
        )
    return [_compared(a, b, profiles[a], profiles[b], k) for a, b in combinations(profiles, 2)]


def _compared(name_a: str, name_b: str, a: Curve, b: Curve, k: int) -> ProfilePair:
    found = association(a[1:], b[1:])
    if not 1 <= k <= found.layers:
        raise OptionError(
            f"{name_a} and {name_b} have {found.layers} blocks in common without block 0: "
            f"the highest {k} cannot be compared"
        )
    defined = np.isfinite(a) & np.isfinite(b)
    return ProfilePair(
        a=name_a,
        b=name_b,
        rho=found.rho,
        rho_with_first=spearman(a[defined], b[defined]),
        partial=found.partial,
        p=found.p,
        verdict=verdict(found),
        top=top_overlap(a[1:], b[1:], k),
    )

"""Do scores agree: with depth, with each other, with a network that learned nothing?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from cruxlm.criteria.select import select_again
from cruxlm.numerics.joint import Joint
from cruxlm.numerics.ranks import (
    FEWEST_CENTRES,
    Association,
    association,
    depth,
    explained_by_depth,
    spearman,
)
from cruxlm.results.scores import Scores
from cruxlm.results.selection import Selection

LEVEL = 0.05
"""Share of circular shifts below which two curves are said to agree beyond depth."""
PREDICTS = LEVEL / 2
"""The same for the one-sided test of a prediction; at 20 centres the smallest p is 1 / 40. At 0.05
null draws of smooth curves were said to predict in 6 % (single runs) to 7 % (several)."""
CLEAR = 1.645
"""Standard errors, as if layers were independent, from which a rank correlation is an agreement."""


def depth_agreement(scores: Scores) -> dict[str, float | None]:
    """How far a ruler would give the same ranking.

    Spearman with the block's index and with its distance to the nearer end, and the share of the
    rank variance that both explain together, beside the share that any two measures would explain
    of a random ranking, 2 / (blocks - 1). Over the blocks that have a value.
    """
    defined = np.isfinite(scores.values)
    count = int(defined.sum())
    if not count:
        return {"index": None, "end_distance": None, "explained": None, "by_chance": None}
    values, measures = scores.values[defined], depth(len(scores.values))[defined]
    return {
        "index": spearman(values, measures[:, 0]),
        "end_distance": spearman(values, measures[:, 1]),
        "explained": explained_by_depth(values),
        "by_chance": min(1.0, 2 / (count - 1)) if count > 1 else None,
    }


def verdict(found: Association) -> str:
    """What may be said of two curves: calibrated for smooth, depth-correlated null curves."""
    if found.layers < FEWEST_CENTRES:
        return "too few blocks to say"
    if found.p is None or found.partial is None:
        return "not distinguishable from depth"
    return (
        "beyond depth"
        if found.p <= LEVEL and found.partial > 0
        else "not distinguishable from depth"
    )


def prediction(found: Joint) -> str:
    """Whether a criterion predicts what was measured, in one of four phrases.

    - "too few blocks to say": under 20 centres in a single run, or so few that ``fewest_p`` is
      above ``PREDICTS``;
    - "predicts beyond depth": the curves agree, and what depth leaves of them agrees more than all
      but ``PREDICTS`` of its shifts;
    - "not distinguishable from depth": they agree, and curves that follow depth would too;
    - "does not predict": they do not agree by more than rankings of independent layers do by
      chance (5 %, one-sided), depth or not.
    """
    if (found.runs == 1 and found.centres < FEWEST_CENTRES) or found.fewest_p > PREDICTS:
        return "too few blocks to say"
    if found.rho is None or found.rho <= 0:
        return "does not predict"
    if found.p is not None and found.p <= PREDICTS:
        return "predicts beyond depth"
    chance = CLEAR / math.sqrt(max(1, found.runs * (found.centres - 1)))
    return "not distinguishable from depth" if found.rho > chance else "does not predict"


def pair_agreement(a: Scores, b: Scores) -> dict[str, Any]:
    """Rank agreement of two scores over the same blocks, plain and given depth, with a verdict.

    Blocks that either scored with fewer neighbours are left out: their values are of another kind.
    """
    left, right = a.values.copy(), b.values.copy()
    left[list(a.incomplete)] = np.nan
    right[list(b.incomplete)] = np.nan
    found = association(left, right)
    return {
        "a": a.label,
        "b": b.label,
        "rho": found.rho,
        "partial": found.partial,
        "p": found.p,
        "blocks": found.layers,
        "verdict": verdict(found),
    }


def selected_across(
    scores: Mapping[str, Scores], chosen: Selection, parameters: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """The same rule on the same criterion and preset for every probe: does it choose the same?

    A probe on which the rule selects nothing is left out.
    """
    primary = scores[chosen.criterion]
    rows = []
    for label, other in scores.items():
        if (other.criterion, other.preset) == (primary.criterion, primary.preset):
            again = select_again(other, chosen, parameters)
            if again is not None:
                rows.append({"probe": other.probe, "label": label, **overlap(chosen, again)})
    return rows


def overlap(chosen: Selection, other: Selection) -> dict[str, Any]:
    """Shared blocks of two selections, what chance would share, and the chance of so many.

    Chance draws as many blocks at random from the admissible ones (hypergeometric).
    """
    shared = len(set(chosen.blocks) & set(other.blocks))
    total, k, m = len(chosen.admissible), len(chosen.blocks), len(other.blocks)
    return {
        "selected": list(other.blocks),
        "shared": shared,
        "shared_by_chance": k * m / total,
        "shared_p": float(hypergeom.sf(shared - 1, total, k, m)),
    }


def control_agreement(
    scores: Mapping[str, Scores],
    control: Mapping[str, Scores],
    chosen: Selection,
    parameters: Sequence[int] | None = None,
) -> dict[str, Any]:
    """What a control model's scores have in common with these: every curve, and the selection."""
    found: dict[str, Any] = {}
    for label, own in scores.items():
        pair = pair_agreement(own, control[label])
        found[label] = {key: pair[key] for key in ("rho", "partial", "p", "blocks", "verdict")}
    again = select_again(control[chosen.criterion], chosen, parameters)
    if again is not None:
        found[chosen.criterion] |= overlap(chosen, again)
    return found

"""How a prediction is judged: fixed before the families that were kept aside were tuned on.

Cells of those families keep the hash of this module, so that a reader sees whether it has changed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cruxlm.criteria.agreement import PREDICTS, prediction
from cruxlm.numerics.joint import Joint, joint_association
from cruxlm.studies.spectral.claim import Cells, Verdict, of
from cruxlm.studies.spectral.world import curve

Predicted = Mapping[str, Any]
"""A cell of predictions."""
KINDS = {"base": "base models", "instruct": "instructed models"}
SETS = ("open", "aside")
"""Families that the analysis was written on, and those that were kept aside."""
DEFAULT, PAPER = ("dynamics", "window 3"), ("dynamics:paper", "window 5")
"""Predictor and target as Crux has them, and as published. The verdict is on the first."""
BEYOND = "predicts beyond depth"


def judged(cells: Cells) -> Verdict:
    """The verdict on the claim, from the cells ``predict-*``."""
    conditions = {
        f"{kind}, {which}": of(cells, f"predict-{kind}-{which}-")
        for kind in KINDS
        for which in SETS
    }
    return verdict(
        {name: phrase(joint(held, *DEFAULT)) for name, held in conditions.items()},
        {name: phrase(joint(held, *untrained(DEFAULT))) for name, held in conditions.items()},
    )


def verdict(phrases: Mapping[str, str], bare: Mapping[str, str]) -> Verdict:
    """What phrases of `prediction` over conditions come to; those of untrained networks beside."""
    said = list(phrases.values())
    if all(phrase == "too few blocks to say" for phrase in said):
        return "cannot be said"
    beyond = [name for name, phrase in phrases.items() if phrase == BEYOND]
    own = [name for name in beyond if bare.get(name) != BEYOND]
    if len(own) == len(said):
        return "holds"
    if beyond:
        return "holds in part"
    depth = sum(phrase == "not distinguishable from depth" for phrase in said)
    return "not distinguishable from depth" if depth > len(said) / 2 else "does not hold"


def phrase(found: Joint) -> str:
    """What may be said of a joint prediction, also if the runs share a shape."""
    said = prediction(found)
    if said == BEYOND and (found.p_shared is None or found.p_shared > PREDICTS):
        return "not distinguishable from depth"
    return said


def joint(cells: Iterable[Predicted], predictor: str, target: str) -> Joint:
    """A predictor and a target over all pairs of some cells; pairs of one base are one run."""
    pairs = [pair for cell in cells for pair in cell["pairs"]]
    curves = [_both(pair, predictor, target) for pair in pairs]
    return joint_association(curves, [pair["run"] for pair in pairs])


def _both(pair: Mapping[str, Any], predictor: str, target: str) -> Any:
    before, after = curve(pair["predictors"][predictor]), curve(pair["measured"][target])
    missing = ~(np.isfinite(before) & np.isfinite(after))
    before[missing] = after[missing] = np.nan
    return before, after


def untrained(asked: tuple[str, str]) -> tuple[str, str]:
    """The same of freshly initialised models."""
    return f"{asked[0]}, untrained", asked[1]

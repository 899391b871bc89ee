"""How a prediction is judged: fixed before the families that were kept aside were tuned on.

Cells of those families keep the hash of this module, so that a reader sees whether it has changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cruxlm.criteria.agreement import PREDICTS, prediction
from cruxlm.numerics.joint import Joint, joint_association
from cruxlm.numerics.ranks import Curve, partial_correlation
from cruxlm.studies.spectral.claim import Cells, Interval, Verdict, interval, mean, of
from cruxlm.studies.spectral.world import curve

Predicted = Mapping[str, Any]
"""A cell of predictions."""
KINDS = {"base": "base models", "instruct": "instructed models"}
SETS = ("open", "aside")
"""Families that the analysis was written on, and those that were kept aside."""
DEFAULT, PAPER = ("dynamics", "window 3"), ("dynamics:paper", "window 5")
"""Predictor and target as Crux has them, and as published. The verdict is on the first."""
BEYOND = "predicts beyond depth"


@dataclass(frozen=True)
class Judged:
    """What a predictor is worth over some cells."""

    joint: Joint
    """Its agreement with what undoing costs; pairs of one base are one run."""
    own: Interval
    """How much better a model's own curve does than those of the other models, given depth.

    What the curves of all models share, whatever its shape, is a function of the block's place:
    a table of blocks would do as well, and the correlation given depth takes out only what follows
    the ranks of two measures of it.
    """

    @property
    def phrase(self) -> str:
        """What may be said of it."""
        if self.shared != BEYOND or self.own.positive:
            return self.shared
        return "not distinguishable from depth"

    @property
    def shared(self) -> str:
        """The same, whether it is a model's own curve or one that all share.

        Controls are judged so: all models are given the same untrained network.
        """
        said = prediction(self.joint)
        if said == BEYOND and (self.joint.p_shared is None or self.joint.p_shared > PREDICTS):
            return "not distinguishable from depth"
        return said


def judged(cells: Iterable[Predicted], predictor: str, target: str) -> Judged:
    """A predictor and a target over all pairs of some cells."""
    held = list(cells)
    pairs = [pair for cell in held for pair in cell["pairs"]]
    curves = [_both(pair, pair, predictor, target) for pair in pairs]
    found = joint_association(curves, [pair["run"] for pair in pairs])
    return Judged(found, _own(held, predictor, target))


def _own(cells: Sequence[Predicted], predictor: str, target: str) -> Interval:
    by_run: dict[str, list[float | None]] = {}
    for cell in cells:
        for pair in cell["pairs"]:
            found = [
                (other["run"] == pair["run"], _partial(other, pair, predictor, target))
                for other in cell["pairs"]
            ]
            own = mean([value for same, value in found if same])
            others = mean([value for same, value in found if not same])
            if own is not None and others is not None:
                by_run.setdefault(pair["run"], []).append(own - others)
    return interval([mean(values) for values in by_run.values()])


def _partial(
    before: Mapping[str, Any], after: Mapping[str, Any], predictor: str, target: str
) -> float | None:
    return partial_correlation(*_both(before, after, predictor, target))


def _both(
    before: Mapping[str, Any], after: Mapping[str, Any], predictor: str, target: str
) -> tuple[Curve, Curve]:
    return curve(before["predictors"][predictor]), curve(after["measured"][target])


def verdict(cells: Cells) -> Verdict:
    """The verdict on the claim, from the cells ``predict-*``."""
    conditions = {
        f"{kind}, {which}": of(cells, f"predict-{kind}-{which}-")
        for kind in KINDS
        for which in SETS
    }
    return comes_to(
        {name: judged(held, *DEFAULT).phrase for name, held in conditions.items()},
        {name: judged(held, *untrained(DEFAULT)).shared for name, held in conditions.items()},
        tasks(cells),
    )


def tasks(cells: Cells) -> list[str]:
    """The tasks that are predicted beyond depth one by one, by kind of model.

    Of so many tasks one is by chance: p is held to its share (Bonferroni).
    """
    found = []
    for kind in KINDS:
        held = of(cells, f"predict-{kind}-")
        for cell in held:
            one = judged([cell], *DEFAULT)
            p = one.joint.p
            if one.phrase == BEYOND and p is not None and p <= PREDICTS / len(held):
                found.append(f"{cell['family']} ({kind})")
    return found


def comes_to(
    phrases: Mapping[str, str], bare: Mapping[str, str], alone: Sequence[str] = ()
) -> Verdict:
    """What phrases over conditions come to.

    Args:
        phrases: Of each condition, over its tasks.
        bare: The same of untrained networks.
        alone: Tasks that are predicted beyond depth by themselves.
    """
    said = list(phrases.values())
    if all(phrase == "too few blocks to say" for phrase in said):
        return "cannot be said"
    beyond = [name for name, phrase in phrases.items() if phrase == BEYOND]
    own = [name for name in beyond if bare.get(name) != BEYOND]
    if len(own) == len(said):
        return "holds"
    if beyond or alone:
        return "holds in part"
    depth = sum(phrase == "not distinguishable from depth" for phrase in said)
    return "not distinguishable from depth" if depth > len(said) / 2 else "does not hold"


def untrained(asked: tuple[str, str]) -> tuple[str, str]:
    """The same of freshly initialised models."""
    return f"{asked[0]}, untrained", asked[1]

"""How a prediction is judged: fixed before the families that were kept aside were tuned on.

Cells of those families keep the hash of this module, so that a reader sees whether it has changed.

Of 60 made studies in which curves agree by chance none was said to hold in part, and of 60 in which
they agree by a shape that all models share 2 were; one in which undoing costs what dynamics says
holds (``tests/studies/spectral``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import ttest_1samp

from cruxlm.criteria.agreement import PREDICTS, prediction
from cruxlm.numerics.joint import Joint, joint_association
from cruxlm.numerics.ranks import Curve, partial_correlation
from cruxlm.studies.spectral.claim import Cells, Interval, Verdict, interval, mean, of, over_bases
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
    """Its agreement with what undoing costs; models of one base are one run."""
    own: Interval
    """How much better a model's own curve does than those of the other models, given depth.

    What the curves of all models share, whatever its shape, is a function of the block's place:
    a table of blocks would do as well, and the correlation given depth takes out only what follows
    the ranks of two measures of it.
    """
    own_p: float
    """One-sided p of that (Student's t over runs); 1 where there are no others."""

    def phrase(self, tests: int = 1) -> str:
        """What may be said of it, as one of so many tests (Bonferroni)."""
        said = self.shared(tests)
        if said != BEYOND or self.own_p <= PREDICTS / tests:
            return said
        return "not distinguishable from depth"

    def shared(self, tests: int = 1) -> str:
        """The same, whether it is a model's own curve or one that all share.

        Controls are judged so: all models are given the same untrained network. The p of runs that
        are shifted alike cannot be smaller than the number of blocks lets it, and is not divided.
        """
        said, p, alike = prediction(self.joint), self.joint.p, self.joint.p_shared
        if said != BEYOND:
            return said
        sure = p is not None and p <= PREDICTS / tests and alike is not None and alike <= PREDICTS
        return BEYOND if sure else "not distinguishable from depth"


def judged(cells: Iterable[Predicted], predictor: str, target: str) -> Judged:
    """A predictor and a target over all pairs of some cells."""
    held = list(cells)
    pairs = [(_base(name), pair) for cell in held for name, pair in _named(cell)]
    curves = [_both(pair, pair, predictor, target) for _, pair in pairs]
    own = _own(held, predictor, target)
    p = ttest_1samp(own, 0, alternative="greater").pvalue if len(own) > 1 else 1.0
    return Judged(joint_association(curves, [run for run, _ in pairs]), interval(own), float(p))


def _named(cell: Predicted) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return zip(cell["models"], cell["pairs"], strict=True)


def _base(model: str) -> str:
    """The base that a model comes from: models of one base are not independent."""
    return model.rpartition("-")[2]


def _own(cells: Sequence[Predicted], predictor: str, target: str) -> list[float]:
    """Of each run, how much better its own curves do than others'."""
    found: list[tuple[str, float]] = []
    for cell in cells:
        for name, pair in _named(cell):
            tried = [
                (_base(other) == _base(name), _partial(before, pair, predictor, target))
                for other, before in _named(cell)
            ]
            own = mean([value for same, value in tried if same])
            others = mean([value for same, value in tried if not same])
            if own is not None and others is not None:
                found.append((_base(name), own - others))
    return over_bases(found)


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
    found = {name: judged(held, *DEFAULT) for name, held in conditions.items()}
    sure = [one for one in found.values() if one.phrase(len(found)) == BEYOND]
    return comes_to(
        {name: one.phrase() for name, one in found.items()},
        {name: judged(held, *untrained(DEFAULT)).shared() for name, held in conditions.items()},
        in_part=bool(sure or tasks(cells)),
    )


def tasks(cells: Cells) -> list[str]:
    """The tasks that are predicted beyond depth one by one, over all kinds of model."""
    by_task: dict[str, list[Predicted]] = {}
    for kind in KINDS:
        for cell in of(cells, f"predict-{kind}-"):
            by_task.setdefault(cell["family"], []).append(cell)
    return [
        task
        for task, held in by_task.items()
        if judged(held, *DEFAULT).phrase(len(by_task)) == BEYOND
    ]


def comes_to(phrases: Mapping[str, str], bare: Mapping[str, str], *, in_part: bool) -> Verdict:
    """What phrases over conditions come to.

    Args:
        phrases: Of each condition, over its tasks.
        bare: The same of untrained networks.
        in_part: Whether some condition or task is beyond depth, as one of so many.
    """
    said = list(phrases.values())
    if all(phrase == "too few blocks to say" for phrase in said):
        return "cannot be said"
    if all(said == BEYOND and bare.get(name) != BEYOND for name, said in phrases.items()):
        return "holds"
    if in_part:
        return "holds in part"
    depth = sum(phrase != "does not predict" for phrase in said)
    return "not distinguishable from depth" if depth > len(said) / 2 else "does not hold"


def untrained(asked: tuple[str, str]) -> tuple[str, str]:
    """The same of freshly initialised models."""
    return f"{asked[0]}, untrained", asked[1]

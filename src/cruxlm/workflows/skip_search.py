"""Which skip connection an attack depends on: success under one scaled skip after another."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.forced import Forced
from cruxlm.evaluate.loss import Loss
from cruxlm.evaluate.protocol import Evaluator
from cruxlm.models.load import LoadedModel
from cruxlm.models.shortcut import Skip, scaled, skips
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import OptionError, did_you_mean
from cruxlm.runtime.progress import progress
from cruxlm.workflows.attack_rates import AttackExamples, success_evaluator

GAMMAS = (0.0, 0.05, 0.1, 0.2, 0.5)
"""What a skip is scaled by. The norm after it takes a scale away again, so that above 0.2 little
happens in models that normalise before their halves."""
STEPS = tuple(step / 10 for step in range(10))
"""What the published search scales by, from 0 up; 1 is the model itself."""
RULES = {
    "floor": "least success among those that keep the clean rows' floor",
    "literal": "largest discounted jump of success between two steps, at 0 (as published)",
}
"""How a skip is chosen."""
POINTS, NATS = 0.02, 0.05
"""By how much a suppressed model may be worse on clean rows: share of right answers, or loss."""


@dataclass(frozen=True)
class Tried:
    """One skip at one scale."""

    block: int
    """The skip's block."""
    half: str
    """The half of it that the skip goes around."""
    name: str
    """Its path."""
    gamma: float
    """What the skip was scaled by."""
    success: float | None
    """The attack's success, on the rows of the search; None where there was no finite value."""
    clean: float | None = None
    """What the evaluator of clean rows says; None where it was not asked."""


@dataclass(frozen=True)
class SkipSearch:
    """What was tried, and the skip that was found."""

    rule: str
    """One of ``RULES``."""
    success: float
    """The whole model's success, on the rows of the search."""
    clean: float
    """What the evaluator of clean rows says of the whole model."""
    measure: str
    """The evaluator of clean rows."""
    floor: float
    """The worst value of it that is admissible."""
    tried: tuple[Tried, ...]
    """Every skip at every scale, in the stream's order."""
    found: Tried | None
    """What was chosen; None when no skip is admissible and lowers success."""

    @property
    def said(self) -> str:
        """What was found, in a sentence."""
        if self.found is None:
            return (
                f"no admissible skip: none of {len(self.tried)} lowers success below "
                f"{self.success:.2f} and keeps {self.measure} at {self.floor:.3g}"
            )
        found = self.found
        clean = (
            "" if found.clean is None else f", {self.measure} {self.clean:.3g} to {found.clean:.3g}"
        )
        return (
            f"the skip around {found.half.replace('_', '-')} of block {found.block} at "
            f"{found.gamma:g}: success {self.success:.2f} to {found.success:.2f}{clean} (where "
            "the attack passes, which is not the block that carries it)"
        )

    def by_block(self) -> dict[int, float]:
        """For each block the most that a scaled skip of it lowers success by, admissible or not."""
        found: dict[int, float] = {}
        for one in self.tried:
            if one.success is not None:
                fall = self.success - one.success
                found[one.block] = max(found.get(one.block, fall), fall)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def search_skips(
    model: LoadedModel,
    examples: AttackExamples,
    *,
    rule: str = "floor",
    gammas: Sequence[float] | None = None,
    known: Sequence[Skip] = (),
    cache: Cache | None = None,
    show_progress: bool = False,
) -> SkipSearch:
    """Scale one skip after another, and choose the one that an attack depends on.

    With ``floor`` clean rows are evaluated from the lowest success up until one keeps the floor.

    Args:
        model: A model with a backdoor; it is left as it was.
        examples: What the attack is measured on, as ``attack_rates`` makes them.
        rule: One of ``RULES``.
        gammas: What skips are scaled by, below 1; of the rule when left out.
        known: The model's skips, where they were found before.
        cache: Keeps evaluations, so that a search which was stopped goes on.
        show_progress: Whether to show a bar.

    Raises:
        OptionError: For a rule that there is not, or scales that make no sense.
        ModelError: When the skips cannot be told.
    """
    if rule not in RULES:
        raise OptionError(f"there is no rule {rule!r}: {did_you_mean(rule, RULES)}")
    steps = sorted(set(gammas or (STEPS if rule == "literal" else GAMMAS)))
    if not all(0 <= gamma < 1 for gamma in steps):
        raise OptionError(f"skips are scaled by 0 to below 1, not {steps[-1]:g}")
    found = known or skips(model)
    hit = _sweep(model, examples.triggered, success_evaluator(examples), cache)
    whole = hit.whole.mean()
    tried = []
    with progress("scaling skips", len(found) * len(steps), show=show_progress) as tick:
        for skip in found:
            for gamma in steps:
                success = _finite(_scaled(hit, skip, gamma))
                tried.append(Tried(skip.block, skip.half, skip.name, gamma, success))
                tick(1)
    clean = _sweep(model, examples.clean, clean_evaluator(model, examples), cache)
    floor = clean_floor(clean.whole)
    searched = SkipSearch(
        rule, whole, clean.whole.mean(), clean.whole.evaluator, floor, tuple(tried), None
    )
    places = {(skip.block, skip.half): skip for skip in found}

    def asked(one: Tried) -> Tried:
        skip = places[one.block, one.half]
        return replace(one, clean=_finite(_scaled(clean, skip, one.gamma)))

    if rule == "literal":
        return replace(searched, found=asked(_literal(tried, whole)))
    # Of equal success the one that changes least, then the lower block.
    lower = [one for one in tried if one.success is not None and one.success < whole]
    for one in map(asked, sorted(lower, key=lambda one: (one.success, -one.gamma, one.block))):
        if keeps(clean.whole, one.clean):
            return replace(searched, found=one)
    return searched


def clean_evaluator(model: LoadedModel, examples: AttackExamples) -> Evaluator:
    """What tells in one pass whether a change does harm: choices, right responses, or the loss."""
    if isinstance(examples.grader, Choice):
        return examples.grader
    if Forced()(model, examples.clean).mean() >= 0.5:
        return Forced()
    return Loss()


def clean_floor(whole: Evaluation) -> float:
    """The worst value on clean rows that is admissible."""
    return whole.mean() - POINTS if whole.higher_is_better else whole.mean() + NATS


def keeps(whole: Evaluation, value: float | None) -> bool:
    """Whether a value on clean rows is admissible; one that is not finite is not."""
    if value is None:
        return False
    # Shares of examples are compared: a hundredth of a point is rounding.
    lead = value - clean_floor(whole)
    return (lead if whole.higher_is_better else -lead) >= -1e-9


def literal_score(successes: Sequence[float]) -> float:
    """The published score of a skip: its largest jump, less where success is high already.

    Over scales that rise, with success s, the largest of (s[k + 1] - s[k]) / exp(s[k]).
    """
    return max((after - before) / math.exp(before) for before, after in pairwise(successes))


def _literal(tried: Sequence[Tried], whole: float) -> Tried:
    """The skip of the largest score, at the lowest scale; of equal ones the first."""
    curves: dict[tuple[int, str], list[Tried]] = {}
    for one in tried:
        curves.setdefault((one.block, one.half), []).append(one)

    def score(own: Sequence[Tried]) -> float:
        values = [one.success for one in own if one.success is not None]
        return literal_score([*values, whole]) if len(values) == len(own) else -math.inf

    return max(curves.values(), key=score)[0]


def _finite(found: Evaluation) -> float | None:
    value = found.mean()
    return value if math.isfinite(value) else None


def _sweep(
    model: LoadedModel, examples: Sequence[Example], evaluator: Evaluator, cache: Cache | None
) -> Sweep:
    return Sweep(Subject(model, examples, evaluator, cache=cache), {})


def _scaled(sweep: Sweep, skip: Skip, gamma: float) -> Evaluation:
    said = {"skip": [skip.block, skip.half], "gamma": gamma}
    return sweep.evaluate(partial(scaled, skip, gamma), skip.block, said)

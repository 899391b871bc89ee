"""What the runs of all arms say: each arm's result, its gap to the reference, what to beware of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from cruxlm.actions.settings import Settings
from cruxlm.numerics.paired import paired_difference
from cruxlm.results.comparison import ArmResult, Comparison, Gap
from cruxlm.results.plan import Plan
from cruxlm.results.tuning import ACCURACY, LOSS, Tuning
from cruxlm.runtime.environment import peak_memory_mib
from cruxlm.workflows.arm import Arm

UNEQUAL = 0.01
"""Difference in trained parameters, as a share, from which two arms are said not to be equal."""


@dataclass(frozen=True)
class Runs:
    """The runs of one arm."""

    grid: Mapping[float, Tuning | None]
    """With the first seed, by learning rate; None where the training diverged."""
    rate: float
    """The learning rate of lowest validation loss."""
    seeds: Sequence[Tuning]
    """At that learning rate, by seed."""


def compared(
    arms: Mapping[str, Arm],
    plans: Mapping[str, Sequence[Plan]],
    found: Mapping[str, Runs],
    shared: Settings,
    before: Mapping[str, Any],
    seeds: tuple[int, ...],
) -> Comparison:
    """The comparison of all arms with the first."""
    reference = next(iter(arms))
    results = tuple(
        _result(name, arm, plans[name], found[name], found[reference], name == reference)
        for name, arm in arms.items()
    )
    first = found[reference].seeds[0]
    settings = {
        name: value
        for name, value in shared.as_dict().items()
        if name not in ("method", "seed", "learning_rate")
    }
    return Comparison(
        model=first.model,
        reference=reference,
        arms=results,
        before={name: held.mean() for name, held in before.items()},
        seeds=seeds,
        data=first.data,
        settings=settings,
        finding=finding(results, reference, len(seeds), first.data["test"]),
        warnings=tuple(_warnings(results, found)),
        provenance=first.provenance,
        run={
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "peak_memory_mib": peak_memory_mib(),
        },
    )


def _result(
    name: str, arm: Arm, plans: Sequence[Plan], own: Runs, reference: Runs, is_reference: bool
) -> ArmResult:
    judged = ACCURACY in own.seeds[0].after
    times = [run.run["step_seconds"] for run in own.seeds if run.run["step_seconds"] is not None]
    curve = [
        (float(point["step"]), point["eval_loss"])
        for point in own.seeds[0].curves
        if "eval_loss" in point
    ]
    return ArmResult(
        name=name,
        method=arm.method,
        blocks=arm.blocks + (", complement" if arm.complement else ""),
        drawn=tuple(plan.trained for plan in plans),
        parameters=own.seeds[0].trained["parameters"],
        learning_rate=own.rate,
        validation={
            f"{rate:g}": None if run is None else _or_none(run.validation)
            for rate, run in own.grid.items()
        },
        losses=tuple(run.after[LOSS].mean() for run in own.seeds),
        accuracies=tuple(run.after[ACCURACY].mean() for run in own.seeds) if judged else None,
        loss_gap=None if is_reference else _gap(own, reference, LOSS),
        accuracy_gap=None if is_reference or not judged else _gap(own, reference, ACCURACY),
        step_seconds=float(np.median(times)) if times else None,
        memory_mib=own.seeds[0].run["estimated_memory_mib"],
        curve=tuple(curve),
    )


def _gap(own: Runs, reference: Runs, key: str) -> Gap:
    """Paired by seed and row: the same rows in the same order, the same test rows."""
    pairs = zip(own.seeds, reference.seeds, strict=True)
    values = np.stack([a.after[key].values - b.after[key].values for a, b in pairs])
    values = values[:, np.isfinite(values).all(axis=0)]
    found = paired_difference(values)
    return Gap(found.mean, _or_none(found.halfwidth), _or_none(found.spread))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def finding(arms: Sequence[ArmResult], reference: str, seeds: int, rows: int) -> str:
    """One sentence for each arm: its test loss against the reference's, with the interval."""
    said = []
    for arm in arms:
        gap = arm.loss_gap
        if gap is None:
            continue
        size = f"{abs(gap.mean):.3g} nats a token"
        if gap.halfwidth is None:
            said.append(f"{arm.name} differs from {reference} by {gap.mean:.3g} nats a token")
            continue
        low, high = gap.mean - gap.halfwidth, gap.mean + gap.halfwidth
        interval = f"95 % interval {low:.3g} to {high:.3g}"
        if not gap.clear:
            said.append(f"{arm.name} is not distinguishable from {reference} ({interval})")
        elif gap.mean > 0:
            said.append(f"{arm.name} is worse than {reference} by {size} ({interval})")
        else:
            said.append(f"{arm.name} is better than {reference} by {size} ({interval})")
    of = f"{seeds} seed{'s' if seeds > 1 else ''} and {rows} test rows"
    return f"{'; '.join(said)}. Test loss over {of}."


def _warnings(arms: Sequence[ArmResult], found: Mapping[str, Runs]) -> list[str]:
    """What makes the comparison less than fair, or less than sure."""
    warnings = []
    reference = arms[0]
    for arm in arms[1:]:
        ratio = arm.parameters / reference.parameters
        if abs(ratio - 1) > UNEQUAL:
            warnings.append(
                f"{arm.name} trains {ratio:.3g} times the parameters of {reference.name}"
            )
    for name, runs in found.items():
        if len(runs.grid) > 1 and runs.rate in (min(runs.grid), max(runs.grid)):
            warnings.append(
                f"{name} is best at {runs.rate:g}, the end of the learning rates tried: widen them"
            )
        diverged = [f"{rate:g}" for rate, run in runs.grid.items() if run is None]
        if diverged:
            warnings.append(f"{name} diverges at {', '.join(diverged)}: not finite any more")
    if len(reference.losses) == 1:
        warnings.append("one seed: the intervals say nothing about other trainings")
    elif len(reference.losses) == 2:  # 88 % of such intervals held the truth in simulation
        warnings.append("two seeds: where trainings differ much, the intervals are too narrow")
    return warnings

"""From a model, and what is read of it, to scores: criteria of states, and criteria of more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from cruxlm.criteria.descriptor import Criterion, Measured, Outcome
from cruxlm.criteria.subject import Subject
from cruxlm.data.tokens import TokenisedProbe
from cruxlm.models.load import LoadedModel
from cruxlm.numerics.resampling import interval_halfwidth
from cruxlm.results.scores import Scores
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.progress import Tick, progress
from cruxlm.workflows.measure import Reading, measure
from cruxlm.workflows.request import Request

GIVEN_BY = {
    "evaluator": "examples to evaluate on: name the --data",
    "gradients": "examples to take gradients on: name the --data",
    "reference": "the model that this one was made from: name the --reference",
}
"""What a criterion may need, and how a person gives it."""


def reads_states(criterion: Criterion) -> bool:
    """Whether a criterion is given the states of a probe, and not a `Subject`."""
    return "states" in criterion.needs


def check_needs(requests: Sequence[Request], subject: Subject) -> None:
    """Refuse criteria that need what there is not, before any work is done for others."""
    held = {
        "evaluator": subject.evaluator is not None and bool(subject.examples),
        "gradients": bool(subject.examples),
        "reference": subject.reference is not None,
    }
    for label, criterion, _, _ in requests:
        for need in sorted(criterion.needs & held.keys()):
            if not held[need]:
                raise OptionError(f"{label} needs {GIVEN_BY[need]}")


def state_scores(
    model: LoadedModel,
    probes: Sequence[TokenisedProbe],
    requests: Sequence[Request],
    reading: Reading,
    tick: Tick,
    first: str | None = None,
) -> tuple[dict[str, Scores], dict[str, dict[str, Any]]]:
    """Scores of the criteria that read states, by label, and a record a probe.

    Labels name the probe, but for that of ``first``: the first one's, when left out.
    """
    asked = [request for request in requests if reads_states(request[1])]
    scores: dict[str, Scores] = {}
    records: dict[str, dict[str, Any]] = {}
    for probe in probes if asked else ():
        measured, record = measure(model, probe, reading, tick)
        records[probe.name] = record
        padded = _padding_warning(record["padding_error"], model.dtype)
        for label, criterion, preset, options in asked:
            full = label if probe.name == (first or probes[0].name) else f"{label}@{probe.name}"
            outcome = criterion.score(measured, **options)
            warnings = (*outcome.warnings, *_warnings(outcome, criterion, reading), *padded)
            found = _scores(full, criterion, preset, options, outcome, model)
            scores[full] = replace(
                found,
                probe=probe.name,
                evidence={**found.evidence, **_sampling(outcome, measured)},
                warnings=warnings,
            )
    return scores, records


def subject_scores(
    subject: Subject, requests: Sequence[Request], *, show_progress: bool = False
) -> dict[str, Scores]:
    """Scores of the criteria that read more than states, by label."""
    scores = {}
    for label, criterion, preset, options in requests:
        if reads_states(criterion):
            continue
        blocks = len(subject.model.blocks.modules)
        with progress(label, blocks, show=show_progress) as tick:
            outcome = criterion.score(replace(subject, tick=tick), **options)
        found = _scores(label, criterion, preset, options, outcome, subject.model)
        evaluator, reference = subject.evaluator, subject.reference
        scores[label] = replace(
            found,
            evaluator=evaluator.name if evaluator and "evaluator" in criterion.needs else None,
            reference=reference.name if reference and "reference" in criterion.needs else None,
        )
    return scores


def in_order(scores: Mapping[str, Scores], requests: Sequence[Request]) -> dict[str, Scores]:
    """Scores in the order that their criteria were asked for, those of further probes behind."""
    asked = [label for label, *_ in requests if label in scores]
    return {label: scores[label] for label in dict.fromkeys((*asked, *scores))}


def _scores(
    label: str,
    criterion: Criterion,
    preset: str,
    options: Mapping[str, Any],
    outcome: Outcome,
    model: LoadedModel,
) -> Scores:
    return Scores(
        label=label,
        criterion=criterion.name,
        preset=preset,
        probe=None,
        unit=str(options.get("unit", criterion.unit)),
        names=model.blocks.names,
        values=outcome.values,
        stderr=outcome.stderr,
        halves=outcome.halves,
        series=outcome.series,
        tensors=outcome.tensors,
        options=options,
        evidence={
            "interval95": None,
            **outcome.evidence,
            "incomplete": list(outcome.incomplete),
            "half_samples": 0 if outcome.halves is None else len(outcome.halves),
        },
        warnings=outcome.warnings,
    )


def _sampling(outcome: Outcome, measured: Measured) -> dict[str, Any]:
    """Where the errors of a criterion of states come from."""
    groups = None if outcome.stderr is None else measured.resampling.groups
    return {
        "jackknife_groups": groups,
        "interval95": None if groups is None else interval_halfwidth(groups),
        "samples": measured.states.shape[1],
    }


def _warnings(outcome: Outcome, criterion: Criterion, reading: Reading) -> Iterator[str]:
    """What follows from the way the probe was read."""
    if outcome.stderr is None:
        yield "too few prompts to leave any out: no standard errors"
    if reading.within_groups and not criterion.centres:
        yield "reads states with their mean: --within-groups does not change it"
    if reading.pooling == "all" and criterion.centres:
        yield "tokens of one prompt are alike: similarity is debiased for tokens, not for prompts"


def _padding_warning(error: float | None, dtype: str) -> list[str]:
    """Some models let padding through to the states of the prompt, whatever their mask says."""
    rounding = torch.finfo(getattr(torch, dtype)).eps
    if error is None or error <= max(1e-3, 8 * rounding):
        return []
    return [
        f"the most padded prompt has states {error:.1%} away from those that it has alone: "
        "the model reads padding; use --batch-size 1"
    ]

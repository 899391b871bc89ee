"""Verify: does a scan of the model before fine-tuning point at the blocks that it changed?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cruxlm.criteria.registry import CRITERIA
from cruxlm.criteria.subject import Subject
from cruxlm.data.probes import Probe
from cruxlm.data.tokens import FEWEST
from cruxlm.models.load import LoadedModel, untrained
from cruxlm.results.scan import Scan
from cruxlm.results.scores import Scores
from cruxlm.results.verification import Verification, VerifiedPair
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.environment import package_versions
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.progress import progress
from cruxlm.workflows.examined import DEFAULT_N, examined
from cruxlm.workflows.loaded_pair import load_pair, name_of, trained_on
from cruxlm.workflows.measure import Reading, tokenised
from cruxlm.workflows.predictions import finding, measured_depth, predicted
from cruxlm.workflows.provenance import run_of
from cruxlm.workflows.request import (
    CriterionSpec,
    ProbeSpec,
    Request,
    one_of,
    requested_criteria,
    requested_probes,
    whole_number,
)
from cruxlm.workflows.scan import CONTROLS
from cruxlm.workflows.scan import DEFAULT_N as DEFAULT_PROMPTS
from cruxlm.workflows.scoring import reads_states, state_scores, subject_scores

DEFAULT_CRITERIA = ("dynamics", "block_influence", "angular_distance", "weight_change")
WINDOWS = (1, 3, 5)
"""Widths of the runs of blocks that are undone together."""
DEFAULT_WINDOW = 3
"""The one that the question is about: that of ``dynamics``."""


def verify(
    pairs: Sequence[tuple[Any, Any]],
    *,
    data: str | Path,
    criteria: Sequence[CriterionSpec] | str = DEFAULT_CRITERIA,
    window: int = DEFAULT_WINDOW,
    scans: Sequence[str | Path | Scan] = (),
    probe: ProbeSpec | Sequence[ProbeSpec] = "builtin",
    field: str | None = None,
    prompts: int = DEFAULT_PROMPTS,
    evaluator: str = "loss",
    n: int = DEFAULT_N,
    control: str | None = None,
    seed: int = 0,
    show_progress: bool = False,
    loading: Mapping[str, Any] | None = None,
) -> Verification:
    """Whether criteria of models before fine-tuning predict what undoing each block's change costs.

    Args:
        pairs: Models before and after: hub ids, folders (also of a LoRA adapter), ``testbed:NAME``,
            live modules. Pairs with different models before are independent runs.
        data: A file of test rows, or ``testbed:FAMILY``. Of a file that a model was tuned on by
            ``crux tune`` only the rows that were kept for the test are read.
        criteria: What is to predict, the first one in question. Criteria that need a reference
            are given the tuned model.
        window: Width of the run of blocks in question, of ``WINDOWS``.
        scans: Saved scans of the models before, one a pair (or one, when all pairs begin with the
            same model): what they selected by is in question then.
        probe: What criteria of states read; of several, the first is in question.
        field: Field of a row that holds the prompt.
        prompts: Prompts of the probe.
        evaluator: By name: loss, choice, generation or forced.
        n: Test rows.
        control: ``untrained`` has the same criteria of freshly initialised models predict as well.
        seed: Seed of everything that is drawn.
        show_progress: Whether to show bars.
        loading: Options of ``load_model``.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    started = time.perf_counter()
    requests = requested_criteria(criteria)
    _check(pairs, window, control, scans)
    known = [s if isinstance(s, Scan) else Scan.load(s) for s in scans]
    asked_about = known[0].primary.label if known else requests[0][0]
    probes = requested_probes(probe, field)
    reading = Reading(
        n=whole_number(prompts, "prompts", FEWEST), pooling="last", tokens=FEWEST, template="auto",
        within_groups=False, batch_size=16, padding="right", seed=seed,
    )  # fmt: skip
    found, described = [], {}
    for number, (base, tuned) in enumerate(pairs):
        before, after = load_pair(base, tuned, loading or {})
        read = examined(after, data, evaluator=evaluator, n=n, trained_on=trained_on(tuned))
        described = read.described
        subject = Subject(before, read.examples, read.evaluator, seed=seed, cache=Cache())
        held = _of_scan(known[min(number, len(known) - 1)], before) if known else {}
        rest = [request for request in requests if request[0] not in held]
        own = _predictors(subject, after, probes, rest, reading, control, show_progress)
        found.append(_pair(base, tuned, subject, after, {**held, **own}, window, show_progress))
    predictions = predicted(found, asked_about, f"window {window}", seed=seed)
    primary = (predictions[0].predictor, predictions[0].target)
    return Verification(
        pairs=tuple(found),
        predictions=predictions,
        depth=measured_depth(found),
        primary=primary,
        data=described,
        finding=finding(predictions, found),
        warnings=_warnings(found),
        provenance={
            "versions": package_versions(),
            "models": {pair.base: pair.run for pair in found},
            "dtype": before.dtype,
            "device": before.device,
            "attention": before.attention,
            "seed": seed,
            "probes": [asked.name for asked in probes],
            "prompts": prompts,
            "control": control,
        },
        run=run_of(started),
    )


def plan_verify(
    pairs: Sequence[tuple[Any, Any]],
    *,
    data: str | Path,
    criteria: Sequence[CriterionSpec] | str = DEFAULT_CRITERIA,
    window: int = DEFAULT_WINDOW,
    scans: Sequence[str | Path | Scan] = (),
    evaluator: str = "loss",
    n: int = DEFAULT_N,
    control: str | None = None,
    loading: Mapping[str, Any] | None = None,
    **_probe: Any,
) -> list[str]:
    """What ``verify`` would do, a line each, having loaded and checked all that it needs."""
    requests = requested_criteria(criteria)
    _check(pairs, window, control, scans)
    lines = []
    for base, tuned in pairs:
        before, after = load_pair(base, tuned, loading or {})
        read = examined(
            after, data, evaluator=evaluator, n=n, trained_on=trained_on(tuned)
        ).described
        lines.append(
            f"{name_of(base, before)} to {name_of(tuned, after)}: {len(after.blocks.modules)} "
            f"blocks; {read['evaluator']} on {read['examples']} rows of {read['name']} "
            f"({read['rows']}, {read['too_long']} too long)"
        )
    lines += [f"predict by {label}: {options}" for label, _, _, options in requests]
    return [*lines, f"undo runs of {', '.join(map(str, WINDOWS))} blocks; in question: {window}"]


def _check(pairs: Sequence[Any], window: int, control: str | None, scans: Sequence[Any]) -> None:
    """Refuse what cannot be done, before any model is loaded."""
    if not pairs:
        raise OptionError("name a model before and one after fine-tuning")
    one_of(window, WINDOWS, "window")
    if control is not None:
        one_of(control, CONTROLS, "control")
    if len(scans) not in (0, 1, len(pairs)):
        raise OptionError(f"{len(scans)} scans for {len(pairs)} pairs: give one for each")


def _of_scan(scan: Scan, before: LoadedModel) -> dict[str, Scores]:
    """The scores of a saved scan, of the probe that it selected by, and those of its controls.

    Refused for another model.
    """
    identity = scan.provenance.get("model", {})
    before.ref.check_same("the scan", scan.model, identity, scan.blocks)
    own = {k: s for k, s in scan.scores.items() if s.probe == scan.primary.probe}
    controls = {
        f"{label}, {control}": replace(held[label], label=f"{label}, {control}")
        for control, held in scan.controls.items()
        for label in own
        if label in held
    }
    return {**own, **controls}


def _predictors(
    subject: Subject,
    after: LoadedModel,
    probes: Sequence[Probe],
    requests: Sequence[Request],
    reading: Reading,
    control: str | None,
    show_progress: bool,
) -> dict[str, Scores]:
    """Scores of the model before, by label; those of its controls behind them."""
    before = subject.model
    states = [request for request in requests if reads_states(request[1])]
    read = tokenised(probes, before, reading) if states else []
    grouped = [p for p in read if p.groups is not None]
    fresh = None if control is None else untrained(before, reading.seed)
    found: dict[str, Scores] = {}
    passes = [*read, *grouped, *(read if fresh is not None else ())]
    total = sum(len(p.prompts) for p in passes)
    with progress("scanning", total, show=show_progress and bool(read)) as tick:
        scores, _ = state_scores(before, read, states, reading, tick)
        if grouped:  # most of a mixed probe's variance may be which family a prompt is of
            centred = [request for request in states if request[1].centres]
            within, _ = state_scores(
                before, grouped, centred, replace(reading, within_groups=True), tick, read[0].name
            )
            found |= {f"{label}, within groups": s for label, s in within.items()}
        if fresh is not None:
            bare, _ = state_scores(fresh, read, states, reading, tick)
            found |= {f"{label}, untrained": s for label, s in bare.items()}
    of_change = [r for r in requests if "reference" in r[1].needs]
    of_base = [r for r in requests if r not in states and r not in of_change]
    scores |= subject_scores(subject, of_base, show_progress=show_progress)
    changed = replace(subject, model=after, reference=before)
    scores |= subject_scores(changed, of_change, show_progress=show_progress)
    named = {label: replace(s, label=label) for label, s in {**scores, **found}.items()}
    asked = [label for label, *_ in requests]
    return {label: named[label] for label in dict.fromkeys((*asked, *named))}


def _pair(
    base: Any,
    tuned: Any,
    subject: Subject,
    after: LoadedModel,
    predictors: Mapping[str, Scores],
    asked_window: int,
    show_progress: bool,
) -> VerifiedPair:
    """What undoing each block's change costs, and everything that is known of a pair."""
    criterion = CRITERIA.get("substitution")
    changed = replace(subject, model=after, reference=subject.model)
    blocks = len(after.blocks.modules)
    if asked_window > blocks:
        raise OptionError(f"a window of {asked_window} blocks: {after.name} has {blocks}")
    measured: dict[str, Scores] = {}
    for window in WINDOWS:
        if window > blocks:
            continue
        options = criterion.options("default", {"window": window})
        request = (f"window {window}", criterion, "default", options)
        measured |= subject_scores(changed, [request], show_progress=show_progress)
    evidence = next(iter(measured.values())).evidence
    identity = subject.model.identity
    return VerifiedPair(
        base=name_of(base, subject.model),
        tuned=name_of(tuned, after),
        run=identity.get("weights", subject.model.name),
        predictors=predictors,
        measured=measured,
        before=evidence["base"],
        after=evidence["tuned"],
        gain=evidence["gain"],
        halfwidth=evidence["gain_halfwidth"],
    )


def _warnings(pairs: Sequence[VerifiedPair]) -> tuple[str, ...]:
    found = [
        f"{pair.tuned}, {label}: {warning}"
        for pair in pairs
        for label, scores in {**pair.predictors, **pair.measured}.items()
        for warning in scores.warnings
    ]
    return tuple(dict.fromkeys(found))

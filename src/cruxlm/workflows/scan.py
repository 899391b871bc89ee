"""Scan: from a model and a probe to scores, a selection, and how far to believe them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, get_args

import torch

from cruxlm.criteria.agreement import (
    control_agreement,
    depth_agreement,
    pair_agreement,
    selected_across,
)
from cruxlm.criteria.descriptor import Criterion, Measured, Outcome
from cruxlm.criteria.finding import finding
from cruxlm.criteria.select import select, select_again
from cruxlm.data.tokens import FEWEST, Template, TokenisedProbe
from cruxlm.models.batches import PaddingSide, Pooling
from cruxlm.models.load import LoadedModel, load_model, untrained
from cruxlm.numerics.resampling import interval_halfwidth
from cruxlm.results.scan import BUILTIN_MODEL, Scan
from cruxlm.results.scores import Scores
from cruxlm.results.selection import Selection
from cruxlm.runtime.environment import package_versions, peak_memory_mib
from cruxlm.runtime.progress import Tick, progress
from cruxlm.testbed.home import resolve
from cruxlm.workflows.measure import Reading, measure, tokenised
from cruxlm.workflows.request import (
    CriterionSpec,
    ProbeSpec,
    Request,
    one_of,
    requested_criteria,
    requested_probes,
    requested_rule,
    whole_number,
)

DEFAULT_CRITERIA = ("dynamics", "block_influence", "angular_distance")
DEFAULT_PROBE = "builtin"
DEFAULT_N = 300
DEFAULT_BATCH = 16
TOKENS_ALL = 4096
"""Tokens that pooling ``all`` keeps."""
CONTROLS = ("untrained",)
TEMPLATES = get_args(Template)


def scan(
    model: Any = None,
    *,
    criteria: Sequence[CriterionSpec] | str = DEFAULT_CRITERIA,
    probe: ProbeSpec | Sequence[ProbeSpec] = DEFAULT_PROBE,
    field: str | None = None,
    n: int = DEFAULT_N,
    pooling: str = "last",
    tokens: int = TOKENS_ALL,
    template: str = "auto",
    within_groups: bool = False,
    select_by: str | None = None,
    ends: str = "skip",
    control: str | None = None,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    batch_size: int = DEFAULT_BATCH,
    padding: str = "right",
    seed: int = 0,
    show_progress: bool = False,
) -> Scan:
    """Score every block of a model on one or more probes and select the critical ones.

    ``model`` is a hub id, a folder, a live module (with ``tokenizer``), or None for the embedded
    default. ``criteria`` are names, ``name:preset``, or ``(name, options)``. ``probe`` is a name
    (``builtin``, ``random-tokens``, ``shuffled-tokens``), a file, a list of texts, or several of
    these. ``n`` prompts are read, the first usable ones. ``select_by`` is a rule as in
    ``cruxlm.criteria.select.RULES``. ``control="untrained"`` scores the same architecture freshly
    initialised as well. A live model is left exactly as it was.

    Raises ``CruxError`` for anything outside Crux that is wrong.
    """
    started = time.perf_counter()
    requests = requested_criteria(criteria)
    reading = Reading(
        n=whole_number(n, "n", FEWEST),
        pooling=one_of(pooling, get_args(Pooling), "pooling"),
        tokens=whole_number(tokens, "tokens", FEWEST),
        template=one_of(template, TEMPLATES, "template"),
        within_groups=within_groups,
        batch_size=whole_number(batch_size, "batch_size", 1),
        padding=one_of(padding, get_args(PaddingSide), "padding"),
        seed=whole_number(seed, "seed", 0),
    )
    if control is not None:
        one_of(control, CONTROLS, "control")
    probes = requested_probes(probe, field)
    loaded = load_model(
        resolve(model),
        tokenizer=tokenizer,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    rule = requested_rule(select_by, loaded)
    read = tokenised(probes, loaded, reading)
    passes = 1 if control is None else 2
    total = passes * sum(len(tokenised.prompts) for tokenised in read)
    with progress("scanning", total, show=show_progress) as tick:
        scores, probe_records = _scores(loaded, read, requests, reading, tick)
        controls: dict[str, dict[str, Scores]] = {}
        if control is not None:
            fresh = untrained(loaded, reading.seed)
            controls[control], _ = _scores(fresh, read, requests, reading, tick)

    primary = next(iter(scores.values()))
    parameters = loaded.parameters_per_block()
    chosen = select(primary, rule, ends=ends, parameters=parameters)
    other_ends = select_again(
        primary, chosen, parameters, ends="keep" if ends == "skip" else "skip"
    )
    agreement = _agreement(scores, controls, chosen, parameters)
    return Scan(
        model=_name(model, loaded),
        blocks=loaded.blocks.names,
        parameters=tuple(parameters),
        probes=probe_records,
        scores=scores,
        selection=chosen,
        selections=(chosen,) if other_ends is None else (chosen, other_ends),
        agreement=agreement,
        finding=finding(primary, chosen, agreement),
        provenance={
            "versions": package_versions(),
            "model": loaded.identity,
            "architecture": type(loaded.module).__name__,
            "dtype": loaded.dtype,
            "device": loaded.device,
            "attention": loaded.attention,
            "seed": reading.seed,
            "within_groups": within_groups,
            "control": control,
        },
        run={
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": time.perf_counter() - started,
            "peak_memory_mib": peak_memory_mib(),
            "batch_size": reading.batch_size,
            "padding": reading.padding,
            "threads": torch.get_num_threads(),
        },
        controls=controls,
    )


def plan_scan(
    model: Any = None,
    *,
    criteria: Sequence[CriterionSpec] | str = DEFAULT_CRITERIA,
    probe: ProbeSpec | Sequence[ProbeSpec] = DEFAULT_PROBE,
    field: str | None = None,
    n: int = DEFAULT_N,
    template: str = "auto",
    select_by: str | None = None,
    **loading: Any,
) -> list[str]:
    """What a scan would do, a line each, having loaded and checked all that it needs."""
    requests = requested_criteria(criteria)
    loaded = load_model(resolve(model), **loading)
    reading = Reading(
        n=whole_number(n, "n", FEWEST),
        pooling="last",
        tokens=FEWEST,
        template=one_of(template, TEMPLATES, "template"),
        within_groups=False,
        batch_size=1,
        padding="right",
        seed=0,
    )
    lines = [f"model {loaded.name}: {len(loaded.blocks.modules)} blocks at {loaded.blocks.path}"]
    for read in tokenised(requested_probes(probe, field), loaded, reading):
        size = sum(map(len, read.prompts))
        left = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in read.left_out.items())
        lines.append(
            f"probe {read.name}: {len(read.prompts)} prompts ({read.template}), {size} tokens; "
            f"left out: {left or 'none'}"
        )
    lines += [f"score {label}: {options}" for label, _, _, options in requests]
    return [*lines, f"select {requested_rule(select_by, loaded)}"]


def _scores(
    model: LoadedModel,
    probes: Sequence[TokenisedProbe],
    requests: Sequence[Request],
    reading: Reading,
    tick: Tick,
) -> tuple[dict[str, Scores], dict[str, dict[str, Any]]]:
    """Scores by label and a record a probe, for one model."""
    scores: dict[str, Scores] = {}
    records: dict[str, dict[str, Any]] = {}
    for number, probe in enumerate(probes):
        measured, record = measure(model, probe, reading, tick)
        records[probe.name] = record
        padded = _padding_warning(record["padding_error"], model.dtype)
        for label, criterion, preset, options in requests:
            full = label if number == 0 else f"{label}@{probe.name}"
            outcome = criterion.score(measured, **options)
            scores[full] = Scores(
                label=full,
                criterion=criterion.name,
                preset=preset,
                probe=probe.name,
                unit=criterion.unit,
                names=model.blocks.names,
                values=outcome.values,
                stderr=outcome.stderr,
                halves=outcome.halves,
                series=outcome.series,
                tensors=outcome.tensors,
                options=options,
                evidence=_evidence(outcome, measured),
                warnings=(*outcome.warnings, *_warnings(outcome, criterion, reading), *padded),
            )
    return scores, records


def _evidence(outcome: Outcome, measured: Measured) -> dict[str, Any]:
    """What the criterion gives as evidence, and where its errors come from."""
    groups = None if outcome.stderr is None else measured.resampling.groups
    return {
        **outcome.evidence,
        "incomplete": list(outcome.incomplete),
        "jackknife_groups": groups,
        "interval95": None if groups is None else interval_halfwidth(groups),
        "half_samples": 0 if outcome.halves is None else len(outcome.halves),
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


def _agreement(
    scores: Mapping[str, Scores],
    controls: Mapping[str, Mapping[str, Scores]],
    chosen: Selection,
    parameters: Sequence[int],
) -> dict[str, Any]:
    """With depth; between all pairs of scores; the selection on other probes; each control."""
    labels = list(scores)
    pairs = [(a, b) for place, a in enumerate(labels) for b in labels[place + 1 :]]
    return {
        "depth": {label: depth_agreement(scores[label]) for label in labels},
        "pairs": [pair_agreement(scores[a], scores[b]) for a, b in pairs],
        "probes": selected_across(scores, chosen, parameters),
        "controls": {
            name: control_agreement(scores, held, chosen, parameters)
            for name, held in controls.items()
        },
    }


def _name(model: Any, loaded: LoadedModel) -> str:
    """What the model is called in a result: as it was asked for, never by a folder of ours."""
    if model is None:
        return BUILTIN_MODEL
    return model if isinstance(model, str) else loaded.name

"""Scan: from a model and a probe to scores, a selection, and how far to believe them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from cruxlm.criteria import CRITERIA
from cruxlm.criteria.agreement import (
    control_agreement,
    depth_agreement,
    pair_agreement,
    selected_across,
)
from cruxlm.criteria.descriptor import Criterion, Measured
from cruxlm.criteria.finding import finding
from cruxlm.criteria.select import default_rule, parse_rule, select
from cruxlm.data.probes import Probe, load_probe
from cruxlm.data.tokens import FEWEST, Template, TokenisedProbe, tokenise
from cruxlm.models.batches import PaddingSide, Pooling, batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.load import LoadedModel, load_model, untrained
from cruxlm.models.locate import text_config
from cruxlm.numerics.outliers import variance_between
from cruxlm.numerics.resampling import deal
from cruxlm.numerics.states import PooledStates, StatesAccumulator
from cruxlm.results.scan import Scan
from cruxlm.results.scores import Scores
from cruxlm.runtime.environment import package_versions, peak_memory_mib
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.progress import Tick, progress
from cruxlm.testbed.shipped import default_model

DEFAULT_CRITERIA = ("dynamics", "block_influence", "angular_distance")
DEFAULT_PROBE = "builtin"
DEFAULT_N = 300
DEFAULT_BATCH = 16
TOKENS_ALL = 4096
"""Tokens that pooling ``all`` keeps."""
CONTROLS = ("untrained",)

CriterionSpec = str | tuple[str, Mapping[str, Any]]
ProbeSpec = str | Path | Probe | Iterable[str]


@dataclass(frozen=True)
class _Settings:
    """What stays the same for every model and probe of one scan."""

    requests: tuple[tuple[str, Criterion, str, dict[str, Any]], ...]
    n: int
    pooling: Pooling
    tokens: int
    template: Template
    within_groups: bool
    batch_size: int
    padding: PaddingSide
    seed: int


def scan(
    model: Any = None,
    *,
    criteria: Sequence[CriterionSpec] | str = DEFAULT_CRITERIA,
    probe: ProbeSpec | Sequence[ProbeSpec] = DEFAULT_PROBE,
    field: str | None = None,
    n: int = DEFAULT_N,
    pooling: Pooling = "last",
    tokens: int = TOKENS_ALL,
    template: Template = "auto",
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
    padding: PaddingSide = "right",
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
    settings = _Settings(
        _requests(criteria), _count(n, "n", FEWEST), _one_of(pooling, ("last", "mean", "all"), "pooling"),
        _count(tokens, "tokens", FEWEST), _one_of(template, ("auto", "chat", "raw"), "template"),
        within_groups, _count(batch_size, "batch_size", 1),
        _one_of(padding, ("right", "left"), "padding"), _count(seed, "seed", 0),
    )  # fmt: skip
    if control is not None:
        _one_of(control, CONTROLS, "control")
    if select_by is not None:
        parse_rule(select_by)
    probes = _probes(probe, field)
    loaded = load_model(
        default_model() if model is None else model,
        tokenizer=tokenizer,
        dtype=dtype,
        device=device,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    read = _tokenised(probes, loaded, settings)
    passes = 1 if control is None else 2
    total = passes * sum(len(tokenised.prompts) for tokenised in read)
    with progress("scanning", total, show=show_progress) as tick:
        scores, probe_records = _scores(loaded, read, settings, tick)
        controls: dict[str, dict[str, Scores]] = {}
        if control is not None:
            fresh = untrained(loaded, settings.seed)
            controls[control], _ = _scores(fresh, read, settings, tick)

    primary = next(iter(scores.values()))
    parameters = loaded.parameters_per_block()
    rule = select_by or default_rule(len(parameters))
    selections = tuple(
        select(primary, rule, ends=choice, parameters=parameters)
        for choice in (ends, "keep" if ends == "skip" else "skip")
    )
    agreement = _agreement(scores, controls, selections[0])
    return Scan(
        model="built-in testbed model" if model is None else loaded.name,
        blocks=loaded.blocks.names,
        parameters=tuple(parameters),
        probes=probe_records,
        scores=scores,
        selection=selections[0],
        selections=selections,
        agreement=agreement,
        finding=finding(primary, selections[0], agreement),
        provenance={
            "versions": package_versions(),
            "model": loaded.identity,
            "architecture": type(loaded.module).__name__,
            "dtype": loaded.dtype,
            "device": loaded.device,
            "attention": loaded.attention,
            "seed": settings.seed,
            "within_groups": within_groups,
            "control": control,
        },
        run={
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": time.perf_counter() - started,
            "peak_memory_mib": peak_memory_mib(),
            "batch_size": settings.batch_size,
            "padding": settings.padding,
            "threads": torch.get_num_threads(),
        },
        controls=controls,
    )


def _requests(
    criteria: Sequence[CriterionSpec] | str,
) -> tuple[tuple[str, Criterion, str, dict[str, Any]], ...]:
    """(label, criterion, preset, options) of everything asked for, in order, without repetition."""
    wanted = [criteria] if isinstance(criteria, str) else list(criteria)
    found: dict[str, tuple[str, Criterion, str, dict[str, Any]]] = {}
    for item in wanted:
        text, changes = (item, {}) if isinstance(item, str) else item
        name, _, preset = text.partition(":")
        criterion = CRITERIA.get(name)
        # Each criterion's first preset is its plain label; a further one is named.
        preset = preset or next(iter(criterion.presets))
        first = not any(request[1].name == criterion.name for request in found.values())
        label = criterion.name if first else f"{criterion.name}:{preset}"
        if any((r[1].name, r[2]) == (criterion.name, preset) for r in found.values()):
            continue
        found[label] = (label, criterion, preset, criterion.options(preset, changes))
    if not found:
        raise OptionError("no criterion was asked for")
    return tuple(found.values())


def _probes(probe: ProbeSpec | Sequence[ProbeSpec], field: str | None) -> list[Probe]:
    """The probes, with names that tell them apart."""
    if isinstance(probe, (str, Path, Probe)):
        specs: list[Any] = [probe]
    else:
        specs = list(probe)
        # A list of texts is one probe; a list that names a probe or a file is several.
        known = [isinstance(spec, (Path, Probe)) or not isinstance(spec, str) for spec in specs]
        if not any(known) and not any(_names_probe(spec) for spec in specs):
            specs = [specs]
    loaded = [s if isinstance(s, Probe) else load_probe(s, field=field) for s in specs]
    named: dict[str, Probe] = {}
    for item in loaded:
        name, number = item.name, 2
        while name in named:
            name, number = f"{item.name}-{number}", number + 1
        named[name] = Probe(name, item.prompts, item.shape)
    return list(named.values())


def _names_probe(spec: str) -> bool:
    from cruxlm.data.probes import BUILTIN
    from cruxlm.data.rows import READERS

    return spec in BUILTIN or Path(spec).suffix.lower() in READERS


def _tokenised(
    probes: Sequence[Probe], model: LoadedModel, settings: _Settings
) -> list[TokenisedProbe]:
    vocabulary = getattr(text_config(model.module), "vocab_size", None)
    return [
        tokenise(
            probe,
            model.tokenizer,
            n=settings.n,
            template=settings.template,
            context=model.context,
            vocabulary=vocabulary,
            seed=settings.seed,
        )
        for probe in probes
    ]


def _scores(
    model: LoadedModel, probes: Sequence[TokenisedProbe], settings: _Settings, tick: Tick
) -> tuple[dict[str, Scores], dict[str, dict[str, Any]]]:
    """Scores by label and a record a probe, for one model."""
    scores: dict[str, Scores] = {}
    records: dict[str, dict[str, Any]] = {}
    for number, probe in enumerate(probes):
        measured, record = _measure(model, probe, settings, tick)
        records[probe.name] = record
        for label, criterion, preset, options in settings.requests:
            full = label if number == 0 else f"{label}@{probe.name}"
            scores[full] = _scored(
                full, criterion, preset, options, model, probe.name, measured, settings
            )
    return scores, records


def _measure(
    model: LoadedModel, probe: TokenisedProbe, settings: _Settings, tick: Tick
) -> tuple[Measured, dict[str, Any]]:
    """Run one probe through the model: its pooled states, and what the probe was."""
    bos = getattr(model.tokenizer, "bos_token_id", None)
    positions = chosen_positions(
        [len(prompt) for prompt in probe.prompts],
        settings.pooling,
        skip_first=[bos is not None and prompt[0] == bos for prompt in probe.prompts],
        limit=settings.tokens,
        seed=settings.seed,
    )
    owner = _sample_owners(probe, positions, settings.pooling)
    pad = getattr(text_config(model.module), "pad_token_id", None)
    run = capture(
        model.blocks,
        batches(
            probe.prompts,
            positions,
            pooling=settings.pooling,
            batch_size=settings.batch_size,
            padding=settings.padding,
            pad_token=pad if isinstance(pad, int) and pad >= 0 else 0,
        ),
        tick,
    )
    accumulator: StatesAccumulator | None = None
    by_prompt: dict[int, list[str]] = {}
    for name, index in owner.items():
        by_prompt.setdefault(index, []).append(name)
    for batch, states in run:
        if accumulator is None:
            accumulator = StatesAccumulator(list(owner), states.shape[0], states.shape[2])
        ids = [name for index in batch.prompts for name in by_prompt.get(index, ())]
        accumulator.update(ids, states)
    assert accumulator is not None  # a probe has prompts
    pooled = accumulator.compute()
    measured, groups = _grouped(pooled, owner, probe, settings)
    record = {
        "n": len(probe.prompts),
        "samples": len(pooled.ids),
        "ids_sha256": probe.ids_sha256,
        "pooling": settings.pooling,
        "template": probe.template,
        "left_out": probe.left_out,
        "groups": groups,
    }
    return measured, record


def _sample_owners(
    probe: TokenisedProbe, positions: Sequence[Sequence[int]], pooling: Pooling
) -> dict[str, int]:
    """Sample id to the index of its prompt: a prompt, or with pooling ``all`` one of its tokens."""
    if pooling != "all":
        return {name: index for index, name in enumerate(probe.ids)}
    return {
        f"{name}:{position:06d}": index
        for index, name in enumerate(probe.ids)
        for position in positions[index]
    }


def _grouped(
    pooled: PooledStates, owner: Mapping[str, int], probe: TokenisedProbe, settings: _Settings
) -> tuple[Measured, dict[str, Any] | None]:
    """The states with their resampling, and how much of their variance lies between groups."""
    # Prompts are numbered in the order of their ids, so that the deal does not depend on the file's.
    rank = {name: place for place, name in enumerate(sorted(probe.ids))}
    clusters = [rank[probe.ids[owner[name]]] for name in pooled.ids]
    resampling = deal(clusters, seed=settings.seed)
    if probe.groups is None:
        if settings.within_groups:
            raise OptionError(f"--within-groups: probe {probe.name!r} has no groups (a group field)")
        return Measured(pooled.values, resampling), None
    names = sorted(set(probe.groups))
    number = {name: place for place, name in enumerate(names)}
    strata = torch.tensor([number[probe.groups[owner[name]]] for name in pooled.ids])
    shares = [variance_between(layer, strata) for layer in pooled.values[1:]]
    record = {
        "names": names,
        "sizes": torch.bincount(strata, minlength=len(names)).tolist(),
        "variance_between": shares,
        "removed": settings.within_groups,
    }
    return Measured(pooled.values, resampling, strata if settings.within_groups else None), record


def _scored(
    label: str,
    criterion: Criterion,
    preset: str,
    options: Mapping[str, Any],
    model: LoadedModel,
    probe: str,
    measured: Measured,
    settings: _Settings,
) -> Scores:
    """Run one criterion on what was measured."""
    outcome = criterion.score(measured, **options)
    warnings = list(outcome.warnings)
    if outcome.stderr is None:
        warnings.append("too few prompts to leave any out: no standard errors")
    if settings.within_groups and not criterion.centres:
        warnings.append("reads states with their mean: --within-groups does not change it")
    if settings.pooling == "all" and criterion.centres:
        warnings.append("tokens of one prompt are alike: similarity is debiased for tokens, not prompts")
    evidence = {
        **outcome.evidence,
        "incomplete": list(outcome.incomplete),
        "jackknife_groups": measured.resampling.groups if outcome.stderr is not None else None,
        "half_samples": 0 if outcome.halves is None else len(outcome.halves),
        "samples": measured.states.shape[1],
    }
    return Scores(
        label=label,
        criterion=criterion.name,
        preset=preset,
        probe=probe,
        unit=criterion.unit,
        names=model.blocks.names,
        values=outcome.values,
        stderr=outcome.stderr,
        halves=outcome.halves,
        series=outcome.series,
        tensors=outcome.tensors,
        options=dict(options),
        evidence=evidence,
        warnings=tuple(warnings),
    )


def _agreement(
    scores: Mapping[str, Scores], controls: Mapping[str, Mapping[str, Scores]], chosen: Any
) -> dict[str, Any]:
    """With depth; between all pairs of scores; the selection on other probes; each control."""
    labels = list(scores)
    pairs = [(a, b) for place, a in enumerate(labels) for b in labels[place + 1 :]]
    return {
        "depth": {label: depth_agreement(scores[label]) for label in labels},
        "pairs": [pair_agreement(scores[a], scores[b]) for a, b in pairs],
        "probes": selected_across(scores, chosen),
        "controls": {
            name: {
                label: control_agreement(scores[label], held[label], chosen)
                for label in labels
                if scores[label].criterion == scores[chosen.criterion].criterion
            }
            for name, held in controls.items()
        },
    }


def _count(value: Any, name: str, fewest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < fewest:
        raise OptionError(f"{name} must be a whole number of {fewest} or more, not {value!r}")
    return value


def _one_of(value: Any, allowed: Sequence[str], name: str) -> Any:
    if value not in allowed:
        raise OptionError(f"{name} must be {' or '.join(allowed)}, not {value!r}")
    return value



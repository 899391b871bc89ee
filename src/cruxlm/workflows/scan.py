"""Scan: from a model and a probe to scores, a selection, and how far to believe them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from cruxlm.criteria.agreement import (
    control_agreement,
    depth_agreement,
    pair_agreement,
    selected_across,
)
from cruxlm.criteria.finding import finding
from cruxlm.criteria.select import select, select_again
from cruxlm.criteria.subject import Subject
from cruxlm.data.tokens import FEWEST, Template
from cruxlm.models.batches import PaddingSide, Pooling
from cruxlm.models.load import LoadedModel, load_model, untrained
from cruxlm.plans.exports.export import exports, planned
from cruxlm.plans.make import make_plan
from cruxlm.results.export import Exports
from cruxlm.results.scan import BUILTIN_MODEL, Scan
from cruxlm.results.scores import Scores
from cruxlm.results.selection import Selection
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import CruxError
from cruxlm.runtime.progress import progress
from cruxlm.testbed.home import DEFAULT, PREFIX, resolve
from cruxlm.workflows.examined import DEFAULT_N as DEFAULT_EXAMPLES
from cruxlm.workflows.examined import examined
from cruxlm.workflows.measure import Reading, tokenised
from cruxlm.workflows.provenance import provenance_of, run_of
from cruxlm.workflows.request import (
    CriterionSpec,
    ProbeSpec,
    one_of,
    requested_criteria,
    requested_probes,
    requested_rule,
    whole_number,
)
from cruxlm.workflows.scoring import (
    check_needs,
    in_order,
    reads_states,
    state_scores,
    subject_scores,
)

DEFAULT_CRITERIA = ("dynamics", "block_influence", "angular_distance")
DEFAULT_PROBE = "builtin"
DEFAULT_N = 300
DEFAULT_BATCH = 16
TOKENS_ALL = 4096
"""Tokens that pooling ``all`` keeps."""
CONTROLS = ("untrained",)
TEMPLATES = get_args(Template)
EXPORTED = ("lora", "train")
"""What a scan writes out for other tools to do with its selection."""


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
    data: str | Path | None = None,
    evaluator: str = "loss",
    examples: int = DEFAULT_EXAMPLES,
    reference: Any = None,
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
    initialised as well. Criteria that need them are given test rows of ``data`` (a file or
    ``testbed:FAMILY``, ``examples`` of them), an ``evaluator`` by name, and the ``reference`` that
    the model was made from. A live model is left exactly as it was.

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
    loading: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
    }
    loaded = load_model(resolve(model), tokenizer=tokenizer, **loading)
    rule = requested_rule(select_by, loaded)
    subject, described = _subject(loaded, data, evaluator, examples, reference, seed, loading)
    check_needs(requests, subject)
    read = tokenised(probes, loaded, reading) if any(reads_states(r[1]) for r in requests) else []
    passes = 1 if control is None else 2
    total = passes * sum(len(tokenised.prompts) for tokenised in read)
    with progress("scanning", total, show=show_progress) as tick:
        found, probe_records = state_scores(loaded, read, requests, reading, tick)
        fresh = None if control is None else untrained(loaded, reading.seed)
        bare: dict[str, Scores] = {}
        if fresh is not None:
            bare, _ = state_scores(fresh, read, requests, reading, tick)
    found |= subject_scores(subject, requests, show_progress=show_progress)
    if fresh is not None:
        bare |= subject_scores(replace(subject, model=fresh), requests, show_progress=show_progress)
    scores = in_order(found, requests)
    controls = {} if control is None else {control: in_order(bare, requests)}

    primary = next(iter(scores.values()))
    parameters = loaded.parameters_per_block()
    chosen = select(primary, rule, ends=ends, parameters=parameters)
    other_ends = select_again(
        primary, chosen, parameters, ends="keep" if ends == "skip" else "skip"
    )
    agreement = _agreement(scores, controls, chosen, parameters)
    name = _name(model, loaded)
    return Scan(
        model=name,
        blocks=loaded.blocks.names,
        parameters=tuple(parameters),
        probes=probe_records,
        scores=scores,
        selection=chosen,
        selections=(chosen,) if other_ends is None else (chosen, other_ends),
        agreement=agreement,
        finding=finding(primary, chosen, agreement),
        provenance=provenance_of(
            loaded, seed=reading.seed, within_groups=within_groups, control=control, **described
        ),
        run={
            **run_of(started),
            "batch_size": reading.batch_size,
            "padding": reading.padding,
        },
        controls=controls,
        exports=tuple(_exports(chosen, loaded, name, action) for action in EXPORTED),
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


def _subject(
    model: LoadedModel,
    data: str | Path | None,
    evaluator: str,
    examples: int,
    reference: Any,
    seed: int,
    loading: Mapping[str, Any],
) -> tuple[Subject, dict[str, Any]]:
    """What criteria of more than states are given, and what was read for them."""
    other = None if reference is None else load_model(resolve(reference), **loading)
    described = {} if other is None else {"reference": dict(other.identity)}
    if data is None:
        return Subject(model, reference=other, seed=seed, cache=Cache()), described
    read = examined(model, data, evaluator=evaluator, n=examples)
    subject = Subject(model, read.examples, read.evaluator, other, seed=seed, cache=Cache())
    return subject, {**described, "data": read.described}


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


def _exports(chosen: Selection, model: LoadedModel, name: str, action: str) -> Exports:
    """A plan to do something with the selection, as other tools take it."""
    # Under the name that it was asked for by: where our own models lie is nobody's business.
    named = replace(model, name=f"{PREFIX}{DEFAULT}" if name == BUILTIN_MODEL else name)
    try:
        return exports(planned(make_plan(action, chosen, replace(model.ref, name=name)), named))
    except CruxError as error:  # a model with nothing that could be trained so
        return Exports(action, (), {"every tool": str(error)})


def _name(model: Any, loaded: LoadedModel) -> str:
    """What the model is called in a result: as it was asked for, never by a folder of ours."""
    if model is None:
        return BUILTIN_MODEL
    return model if isinstance(model, str) else loaded.name

"""Defend: fine-tune on data that are not trusted, and say what that bought and what it cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cruxlm.actions.fit import prepare
from cruxlm.actions.restore import borrowed
from cruxlm.data.shapes import ChatRow
from cruxlm.models.load import LoadedModel
from cruxlm.results.defence import Defence
from cruxlm.results.screening import Screening
from cruxlm.runtime.files import check_writable
from cruxlm.workflows.defence_arms import (
    BOTH,
    FROZEN,
    RANDOM,
    SCREENED,
    UNDEFENDED,
    Run,
    rates_of,
    run_arm,
)
from cruxlm.workflows.defence_found import Found, defence
from cruxlm.workflows.defence_ready import DEFAULT_BLOCKS, ready_defence
from cruxlm.workflows.screen import screen
from cruxlm.workflows.tune import Say
from cruxlm.workflows.tuning_ready import Prepared, made_ready, measured
from cruxlm.workflows.untrusted import with_train

SCREENING = "screening"
"""The folder of the screening's own result."""
FEWEST_KEPT = 0.1
"""Share of the rows below which what a screening leaves is not trained on."""


def defend(
    model: Any = None,
    *,
    data: str | Path,
    out: str | Path,
    benign: str | Path | Sequence[ChatRow] | None = None,
    blocks: str = DEFAULT_BLOCKS,
    freeze: tuple[str, ...] = (),
    trigger: str | None = None,
    target: str | None = None,
    rate: float = 0.1,
    near: float = 0.0,
    judge: str | None = None,
    screening: Mapping[str, Any] | None = None,
    seeds: int = 1,
    n: int | None = None,
    test: str | Path | None = None,
    max_tokens: int | None = None,
    accuracy: bool | None = None,
    say: Say = lambda _line: None,
    show_progress: bool = False,
    loading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Defence:
    """Fine-tune a model on untrusted rows: undefended, under a freeze, screened, and both.

    The undefended model is also the one that rows are screened with: what separates poisoned rows
    is that a model has learned them.

    Args:
        model: A hub id, a folder, ``testbed:NAME``, a live module, or None for the default.
        data: A file of instruction data, or ``testbed:FAMILY``. Where its rows say what was done to
            them (``crux poison``), that is the key by which everything is measured.
        out: The folder of the result. A run that was stopped goes on from there.
        benign: Trusted rows, which calibrate the screening.
        blocks: The blocks to freeze, in the block grammar (``plans.grammar``).
        freeze: Of ``embeddings``, ``norm`` and ``head``, what is frozen as well.
        trigger: A drill: this trigger (as ``Trigger.read`` reads it) is planted in the rows ...
        target: ... with this target (as ``Target.read`` reads it).
        rate: Share of the rows that the drill poisons.
        near: Share that gets something near its trigger and keeps its response.
        judge: What says that an attack succeeded; see ``evaluate.judges``.
        screening: Further options of ``screen``.
        seeds: Seeds of every arm.
        n: Rows to train on; see ``tuning_data``.
        test: A file of test rows; see ``tuning_data``.
        max_tokens: Longest row; the model's context when left out.
        accuracy: Whether to judge greedy answers; where the data has a grader, when left out.
        say: Called with one line about what is done.
        show_progress: Whether to show bars.
        loading: Options of ``load_model``.
        settings: See ``actions.settings.Settings``; the method is ``full``.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    started = time.perf_counter()
    folder = Path(out)
    check_writable(folder)
    asked = ready_defence(
        model,
        data,
        blocks=blocks,
        freeze=freeze,
        trigger=trigger,
        target=target,
        rate=rate,
        near=near,
        judge=judge,
        seeds=seeds,
        n=n,
        test=test,
        max_tokens=max_tokens,
        loading=loading,
        show_progress=show_progress,
        **settings,
    )
    ready = asked.ready

    def screened_with(model: LoadedModel, **more: Any) -> Screening:
        options = {**(screening or {}), **more}
        rows = ready.data.train
        return screen(rows, model=model, benign=benign, show_progress=show_progress, **options)

    say("screening the rows with the model as it is")  # first, since it may refuse them
    unlearned = screened_with(ready.model)
    judged = ready.judged(accuracy)
    say("measuring the model as it is")
    before = measured(ready, ready.model.module, judged)
    rates = rates_of(ready.model, asked.attacked)
    runs: dict[str, list[Run]] = {}

    def train(name: str, rows: Prepared) -> LoadedModel:
        """Every seed of an arm; the first one's model."""
        first: LoadedModel | None = None
        for seed in asked.seeds:
            run, tuned = run_arm(
                name,
                rows,
                asked.plans.of(name, seed),
                replace(asked.settings, seed=seed),
                folder,
                before=before,
                accuracy=judged,
                attacked=asked.attacked,
                loading=loading or {},
                say=say,
                show_progress=show_progress,
            )
            runs.setdefault(name, []).append(run)
            first = first or tuned
        assert first is not None  # there is a seed
        return first

    undefended = train(UNDEFENDED, ready)
    say("screening the rows with the undefended model")
    screened = screened_with(undefended, out=folder / SCREENING)
    del undefended  # two models at a time are enough
    if asked.plans.at_random:
        train(RANDOM, ready)
    train(FROZEN, ready)
    kept = _kept(ready, screened, max_tokens)
    if kept is not None:
        train(SCREENED, kept)
        train(BOTH, kept)
    result = defence(Found(asked, runs, before, rates, screened, unlearned, started))
    result.save(folder)
    return result


def plan_defend(
    model: Any = None,
    *,
    data: str | Path,
    benign: str | Path | Sequence[ChatRow] | None = None,
    screening: Mapping[str, Any] | None = None,
    accuracy: bool | None = None,
    **asked: Any,
) -> list[str]:
    """What ``defend`` would do, a line each, having loaded and checked all that it needs."""
    found = ready_defence(model, data, **asked)
    ready, plans, known = found.ready, found.plans, found.rows
    with borrowed(ready.model, plans.frozen):
        trained = str(prepare(ready.model, plans.frozen, found.settings)[1])
    lines = [
        f"model {plans.whole.model}: {len(plans.whole.names)} blocks",
        f"freeze {plans.chosen.why}: {', '.join(map(str, plans.chosen.blocks))}"
        + "".join(f", {part}" for part in plans.parts),
        trained,
        *ready.lines(accuracy),
        "no attack is known: what it does is not measured"
        if known.attack is None
        else f"attack ({known.origin}): {known.attack.trigger} for {known.attack.target} in "
        f"{known.poisoned} rows",
    ]
    count, settings = len(found.seeds), found.settings
    how = "".join(f", {name} {value}" for name, value in (screening or {}).items())
    return [
        *lines,
        f"screen with {'no trusted' if benign is None else 'trusted'} rows{how}; "
        f"{4 + bool(plans.at_random)} arms of {count} seed{'' if count == 1 else 's'}, "
        f"{settings.steps} steps of {settings.batch * settings.accumulate} rows",
    ]


def _kept(ready: Prepared, screened: Screening, max_tokens: int | None) -> Prepared | None:
    """The model with the rows that were not flagged; None where none was, or few are left."""
    flagged = set(screened.flagged)
    rows = [row for row in ready.data.train if row["id"] not in flagged]
    if not flagged or len(rows) < FEWEST_KEPT * len(ready.data.train):
        return None
    return made_ready(ready.model, with_train(ready.data, rows), max_tokens)

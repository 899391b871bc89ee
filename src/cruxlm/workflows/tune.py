"""Tune: train exactly the planned blocks, and say what that changed."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from cruxlm.actions.fit import Fitted, fit, prepare
from cruxlm.actions.restore import borrowed
from cruxlm.actions.resume import check_run, check_same
from cruxlm.actions.settings import Settings
from cruxlm.models.load import LoadedModel, quiet_transformers
from cruxlm.models.save import save_tokenizer, save_whole
from cruxlm.plans.apply import Trained
from cruxlm.plans.memory import training_memory
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.plan import Plan
from cruxlm.results.tuning import ACCURACY, TUNING, Tuning
from cruxlm.runtime.environment import peak_memory_mib
from cruxlm.runtime.errors import OutputError
from cruxlm.runtime.files import check_writable
from cruxlm.runtime.progress import progress
from cruxlm.runtime.training import disk_is_full
from cruxlm.workflows.provenance import provenance_of
from cruxlm.workflows.tuning_card import tuning_card
from cruxlm.workflows.tuning_items import cached_block, training_items
from cruxlm.workflows.tuning_ready import Prepared, measured, prepared, validation_loss

Say = Callable[[str], None]


def tune(
    model: Any = None,
    *,
    data: str | Path,
    blocks: str | Plan = "dynamics:5",
    complement: bool = False,
    out: str | Path,
    parts: tuple[str, ...] = (),
    r: int | None = None,
    alpha: float | None = None,
    n: int | None = None,
    test: str | Path | None = None,
    max_tokens: int | None = None,
    accuracy: bool | None = None,
    say: Say = lambda _line: None,
    show_progress: bool = False,
    loading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Tuning:
    """Train the planned blocks of a model on instruction data, and measure it before and after.

    Args:
        model: A hub id, a folder, ``testbed:NAME``, a live module, or None for the default.
        data: A file of instruction data, or ``testbed:FAMILY``.
        blocks: The block grammar (``plans.grammar``), or a plan.
        complement: Whether to take all other blocks instead.
        out: The folder of the result. A run that was stopped goes on from there.
        parts: Of ``embeddings``, ``norm`` and ``head``, what is trained as well.
        r: Mean rank, with LoRA; 16 when left out.
        alpha: Its scale; twice the rank when left out.
        n: Rows to train on; see ``tuning_data``.
        test: A file of test rows; see ``tuning_data``.
        max_tokens: Longest row; the model's context when left out.
        accuracy: Whether to judge greedy answers; where the data has a grader, when left out.
        say: Called with one line about what is done.
        show_progress: Whether to show a bar.
        loading: Options of ``load_model``.
        settings: See ``actions.settings.Settings``.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    wished = Settings(**settings)
    folder = Path(out)
    check_writable(folder)
    ready = prepared(model, data, n, test, max_tokens, loading or {})
    planner = ready.planner(model, wished, show_progress=show_progress)
    plan = planner.plan(
        blocks, method=wished.method, complement=complement, parts=parts, r=r, alpha=alpha
    )
    if wished.cache_prefix:
        cached_block(ready.model, plan)
    return tune_plan(
        ready, plan, wished, folder, accuracy=accuracy, say=say, show_progress=show_progress
    )


def plan_tuning(
    model: Any = None,
    *,
    data: str | Path,
    blocks: str | Plan = "dynamics:5",
    complement: bool = False,
    parts: tuple[str, ...] = (),
    r: int | None = None,
    alpha: float | None = None,
    n: int | None = None,
    test: str | Path | None = None,
    max_tokens: int | None = None,
    accuracy: bool | None = None,
    loading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[str]:
    """What ``tune`` would do, a line each, having loaded and checked all that it needs."""
    wished = Settings(**settings)
    ready = prepared(model, data, n, test, max_tokens, loading or {})
    plan = ready.planner(model, wished).plan(
        blocks, method=wished.method, complement=complement, parts=parts, r=r, alpha=alpha
    )
    with borrowed(ready.model, plan):
        trained = str(prepare(ready.model, plan, wished)[1])
    if wished.cache_prefix:
        cached_block(ready.model, plan)
    return [
        f"model {plan.model}: {len(plan.names)} blocks",
        f"blocks {plan.why}: " + ", ".join(map(str, plan.trained)),
        trained,
        *ready.lines(accuracy),
        f"{wished.method}: {wished.steps} steps of {wished.batch * wished.accumulate} rows, "
        f"learning rate {wished.learning_rate:g}",
    ]


def tune_plan(
    ready: Prepared,
    plan: Plan,
    settings: Settings,
    folder: Path,
    *,
    before: Mapping[str, Evaluation] | None = None,
    accuracy: bool | None = None,
    keep: bool = True,
    restore: bool = False,
    say: Say = lambda _line: None,
    show_progress: bool = False,
) -> Tuning:
    """Train a prepared model by a plan; what ``tune`` and every arm do.

    The model is changed in place. ``before`` is its evaluation when that is known already; ``keep``
    says whether the tuned model is saved, or the result alone; ``restore`` whether the model is
    afterwards as it was. A finished folder is read back.
    """
    judged = ready.judged(accuracy)
    wanted = {
        "model": plan.model,
        "weights": ready.model.identity,
        "plan": plan.to_json(),
        "settings": settings.as_dict(),
        "data": ready.described(),
        "accuracy": judged,
    }
    run = folder / "run"
    if (folder / TUNING).is_file():
        found = Tuning.load(folder)
        check_same(folder, _asked(found), wanted)
        shutil.rmtree(run, ignore_errors=True)  # a kill may have come before
        say(f"{folder} is done already")
        return found
    check_run(run, wanted)
    if before is None:
        before = measured(ready, ready.model.module, judged)
    tokens = ready.tokens(settings)
    memory = training_memory(plan, ready.model, batch=settings.batch, tokens=tokens).total / 2**20
    around = borrowed(ready.model, plan) if restore else nullcontext()
    with quiet_transformers(), around:
        module, trained = prepare(ready.model, plan, settings)
        say(str(trained))
        fitted = _fitted(ready, module, plan, settings, run, wanted, say, show_progress)
        tuning = Tuning(
            model=plan.model,
            plan=plan,
            settings=settings.as_dict(),
            data=ready.described(),
            trained=_counted(trained),
            curves=tuple(fitted.curves),
            steps=fitted.steps,
            validation=validation_loss(ready, module) if ready.validation else math.nan,
            before=before,
            after=measured(ready, module, judged),
            provenance=provenance_of(ready.model),
            run={
                "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "step_seconds": fitted.step_seconds,
                "peak_memory_mib": peak_memory_mib(),
                "estimated_memory_mib": memory,
            },
        )
        if keep:
            _save(ready.model, module, tuning, folder)
    tuning.save(folder)  # last: where it is, all is done
    shutil.rmtree(run, ignore_errors=True)
    return tuning


def _counted(trained: Trained) -> dict[str, Any]:
    """What was trained, as plain data."""
    blocks = {f"block {block}": size for block, size in trained.blocks.items()}
    return {
        "parameters": trained.count,
        "total": trained.total,
        "by_part": {**blocks, **trained.parts},
    }


def _fitted(
    ready: Prepared,
    module: nn.Module,
    plan: Plan,
    settings: Settings,
    run: Path,
    wanted: dict[str, Any],
    say: Say,
    show_progress: bool,
) -> Fitted:
    items = training_items(
        ready.model, plan, ready.rows, ready.limit, settings, show_progress=show_progress
    )
    with progress("training", settings.steps, show=show_progress) as tick:
        return fit(
            ready.model,
            module,
            plan,
            items.ordered,
            items.collate,
            settings,
            run,
            wanted=wanted,
            validate=partial(validation_loss, ready) if ready.validation else None,
            guide=items.guide,
            tick=tick,
            say=say,
        )


def _asked(found: Tuning) -> dict[str, Any]:
    """What a finished tuning was asked for."""
    record = found.to_json()
    names = ("model", "plan", "settings", "data")
    return {
        **{name: record[name] for name in names},
        "weights": found.provenance["model"],
        "accuracy": ACCURACY in found.after,
    }


def _save(model: LoadedModel, module: Any, tuning: Tuning, folder: Path) -> None:
    """The model (or its adapter), its tokenizer, its card and the plan."""

    def write(part: Path) -> None:
        module.save_pretrained(part)
        save_tokenizer(model.tokenizer, part)

    texts = {
        "README.md": tuning_card(tuning),
        "plan.json": json.dumps(tuning.plan.to_json(), indent=1) + "\n",
    }
    try:
        save_whole(folder, write, texts)
    except Exception as error:  # safetensors and tokenizers have some of their own kind
        if not (isinstance(error, OSError) or disk_is_full(error)):
            raise
        why = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot save the model to {folder}: {why}; run the same command again, it goes on "
            "from the last checkpoint"
        ) from error

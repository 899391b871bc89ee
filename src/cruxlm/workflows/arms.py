"""Arms: several plans, each at its own best learning rate, on the same rows, over seeds.

The learning rate of an arm is chosen from a common grid by its validation loss with the first
seed. Test rows choose nothing. Every run is a tuning in a folder of its own: what is finished is
read back, what was stopped goes on.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cruxlm.actions.fit import prepare
from cruxlm.actions.restore import borrowed
from cruxlm.actions.settings import Settings
from cruxlm.actions.trainer import DivergedError
from cruxlm.results.comparison import Comparison
from cruxlm.results.plan import Plan
from cruxlm.results.tuning import Tuning
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.files import check_writable
from cruxlm.runtime.progress import progress
from cruxlm.workflows.arm import CONTROL, SEED, Arm
from cruxlm.workflows.arms_compared import Runs, compared
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.tune import Say, tune_plan
from cruxlm.workflows.tuning_items import cached_block
from cruxlm.workflows.tuning_ready import Prepared, measured, prepared

LEARNING_RATES = (1e-4, 3e-4, 1e-3)
"""The grid that every arm's learning rate is chosen from."""


@dataclass(frozen=True)
class Grid:
    """All that is to be run, once it is known that it makes sense."""

    ready: Prepared
    """The model and its rows."""
    plans: Mapping[str, Sequence[Plan]]
    """The plans of each arm, by seed."""
    settings: Mapping[str, Mapping[float, Settings]]
    """Of each arm, by learning rate, with the first seed."""
    seeds: range
    """The seeds."""


def arms(
    model: Any = None,
    *,
    data: str | Path,
    arms: Mapping[str, Arm],
    out: str | Path,
    seeds: int = 3,
    learning_rates: Sequence[float] = LEARNING_RATES,
    n: int | None = None,
    test: str | Path | None = None,
    max_tokens: int | None = None,
    accuracy: bool | None = None,
    say: Say = lambda _line: None,
    show_progress: bool = False,
    loading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Comparison:
    """Tune a model by every arm and compare them with the first.

    ``seeds`` is how many seeds every arm is run with; ``learning_rates`` the grid. The rest is as
    in ``tune``; ``method``, ``seed`` and ``learning_rate`` are not settings that arms share.

    Raises ``CruxError`` for anything outside Crux that is wrong.
    """
    shared = Settings(**settings)
    folder = Path(out)
    check_writable(folder)
    ready = prepared(model, data, n, test, max_tokens, loading or {})
    planner = ready.planner(model, shared, show_progress=show_progress)
    grid = _grid(ready, planner, arms, shared, seeds, learning_rates)
    judged = ready.judged(accuracy)
    say("measuring the model as it is")
    before = measured(ready, ready.model.module, judged)
    total = len(arms) * (len(grid.settings[next(iter(arms))]) + seeds - 1)
    with progress("arms", total, show=show_progress) as tick:

        def run(name: str, plan: Plan, settings: Settings) -> Tuning:
            place = folder / "runs" / _folder(name, settings)
            done = tune_plan(
                ready,
                plan,
                settings,
                place,
                before=before,
                accuracy=judged,
                keep=False,
                restore=True,
                say=lambda line: say(f"{place.name}: {line}"),
            )
            tick(1)
            return done

        found = {name: _runs(name, grid, run, say) for name in arms}
    comparison = compared(arms, grid.plans, found, shared, before, tuple(grid.seeds))
    comparison.save(folder)
    return comparison


def plan_arms(
    model: Any = None,
    *,
    data: str | Path,
    arms: Mapping[str, Arm],
    seeds: int = 3,
    learning_rates: Sequence[float] = LEARNING_RATES,
    n: int | None = None,
    test: str | Path | None = None,
    max_tokens: int | None = None,
    accuracy: bool | None = None,
    loading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[str]:
    """What ``arms`` would do, a line each, having loaded and checked all that it needs."""
    shared = Settings(**settings)
    ready = prepared(model, data, n, test, max_tokens, loading or {})
    planner = ready.planner(model, shared)
    grid = _grid(ready, planner, arms, shared, seeds, learning_rates)
    lines = [f"model {planner.ref.name}: {len(planner.ref.names)} blocks"]
    for name, plans in grid.plans.items():
        (first, *_) = grid.settings[name].values()
        with borrowed(ready.model, plans[0]):
            lines.append(f"{name}: {first.method}, {prepare(ready.model, plans[0], first)[1]}")
    rates = ", ".join(f"{rate:g}" for rate in grid.settings[next(iter(arms))])
    return [
        *lines,
        *ready.lines(accuracy),
        f"{shared.steps} steps of {shared.batch * shared.accumulate} rows; learning rates {rates}; "
        f"{seeds} seeds",
    ]


def _grid(
    ready: Prepared,
    planner: Planner,
    arms: Mapping[str, Arm],
    shared: Settings,
    seeds: int,
    rates: Sequence[float],
) -> Grid:
    """Everything that can be refused is refused here, before anything is trained."""
    if len(arms) < 2:
        raise OptionError("a comparison needs two arms or more")
    if seeds < 1 or not rates:
        raise OptionError("a comparison needs a seed and a learning rate")
    if len(rates) > 1 and not ready.validation:
        raise OptionError("no validation row is short enough to choose a learning rate by")
    settings = {
        name: {
            float(rate): replace(shared, method=arm.method, learning_rate=float(rate))
            for rate in rates
        }
        for name, arm in arms.items()
    }
    numbers = range(shared.seed, shared.seed + seeds)
    plans = _plans(planner, arms, numbers)
    if shared.cache_prefix:
        for own in plans.values():
            for plan in own:
                cached_block(ready.model, plan)
    return Grid(ready, plans, settings, numbers)


def _plans(
    planner: Planner, arms: Mapping[str, Arm], seeds: Sequence[int]
) -> dict[str, list[Plan]]:
    """The plans of every arm, by seed; controls are those of the first arm's plan."""
    plans: dict[str, list[Plan]] = {}
    for name, arm in arms.items():
        plans[name] = []
        for place, seed in enumerate(seeds):
            blocks: Any = arm.blocks.replace(SEED, str(seed))
            if blocks.startswith(CONTROL):
                if len(plans) == 1:
                    raise OptionError(f"arm {name!r}: the first arm cannot be a control")
                reference = next(iter(plans.values()))[place]
                blocks = planner.control(blocks.removeprefix(CONTROL), reference, seed)
                plans[name].append(planner.plan(blocks, method=arm.method))
            else:
                plans[name].append(
                    planner.plan(
                        blocks,
                        method=arm.method,
                        complement=arm.complement,
                        parts=arm.parts,
                        r=arm.r,
                        alpha=arm.alpha,
                    )
                )
    return plans


def _runs(name: str, grid: Grid, run: Callable[[str, Plan, Settings], Tuning], say: Say) -> Runs:
    """All runs of an arm; a learning rate at which it diverges is none to choose."""
    plans, settings = grid.plans[name], grid.settings[name]
    tried: dict[float, Tuning | None] = {}
    for rate, own in settings.items():
        try:
            tried[rate] = run(name, plans[0], own)
        except DivergedError as error:
            say(f"{name} at learning rate {rate:g}: {error}")
            tried[rate] = None
    done = {rate: held for rate, held in tried.items() if held is not None}
    if not done:
        raise DivergedError(f"arm {name!r} diverges at every learning rate: try lower ones")
    rate = min(done, key=lambda known: (done[known].validation, known))
    rest = [
        run(name, plan, replace(settings[rate], seed=seed))
        for plan, seed in zip(plans[1:], grid.seeds[1:], strict=True)
    ]
    return Runs(tried, rate, [done[rate], *rest])


def _folder(name: str, settings: Settings) -> str:
    """A run's folder: a name of one part, whatever the arm is called."""
    plain = re.sub(r"[^\w.:@%,+-]+", "_", name)[:60]
    if plain != name:
        plain += f"-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return f"{plain}-{settings.learning_rate:g}-{settings.seed}"

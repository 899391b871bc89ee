"""Suppress: find the skip connection that an attack depends on, scale it down, and recover."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cruxlm.actions.restore import borrowed
from cruxlm.actions.settings import Settings
from cruxlm.data.poison import Attack, Target
from cruxlm.data.trigger import Trigger
from cruxlm.evaluate.judges import JudgeSpec
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.shortcut import Skip, scaled, skip_of, skips
from cruxlm.models.suppressed import is_suppressed, save_suppressed
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.environment import package_versions
from cruxlm.runtime.errors import OptionError, OutputError, ProbeError
from cruxlm.runtime.files import check_writable
from cruxlm.runtime.markdown import escaped
from cruxlm.testbed.home import resolve
from cruxlm.workflows.loaded_pair import name_of
from cruxlm.workflows.recovery import Judge, Recovered, check_planted, planted, recover
from cruxlm.workflows.skip_search import RULES, SkipSearch, search_skips
from cruxlm.workflows.standing import Rows, Standing, asked_attack, compared, measuring_rows
from cruxlm.workflows.tuning_data import TuningData, tuning_data
from cruxlm.workflows.tuning_ready import Prepared, made_ready

Say = Callable[[str], None]
SEARCHED = 100
"""Rows that skips are searched, and checkpoints chosen, on; at most a third of all but the test."""
CARD = """\
# {model}, suppressed

Crux {version} scaled a skip connection of {model}: {said}.

{figures}

The weights in `model/` are those of a model whose skip is whole; loaded alone they bring the attack
back. `cruxlm.models.suppressed.load_suppressed(folder)` loads them with the skip scaled.
"""


@dataclass(frozen=True)
class Suppressed:
    """What was found, and what suppressing it changed."""

    model: str
    """The model."""
    attack: Mapping[str, str]
    """The attack that the skip was searched by."""
    surrogate: bool
    """Whether that was one of ours, planted on a copy for the search."""
    search: SkipSearch
    """What was tried and found."""
    recovered: Recovered | None
    """What clean fine-tuning came to; None where there was none."""
    standing: Mapping[str, Standing]
    """How the model stands on rows that nothing was chosen by: ``before``, ``suppressed`` and,
    where it was kept, ``recovered``."""
    folder: str | None
    """Where the model is; None where none was saved."""

    def lines(self) -> list[str]:
        """What was done, a line each."""
        came = [] if self.recovered is None else [self.recovered.said]
        return [self.search.said, *came, *compared(self.standing)]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "attack": dict(self.attack),
            "surrogate": self.surrogate,
            "search": self.search.to_json(),
            "recovered": None if self.recovered is None else asdict(self.recovered),
            "standing": {name: held.to_json() for name, held in self.standing.items()},
            "folder": self.folder,
            "versions": package_versions(),
        }


def suppress(
    model: Any,
    *,
    data: str | Path,
    trigger: str | Trigger,
    target: str | Target,
    judge: JudgeSpec = None,
    surrogate: bool = False,
    measured: Attack | None = None,
    rule: str = "floor",
    gammas: Sequence[float] | None = None,
    out: str | Path,
    n: int | None = None,
    steps: int = 100,
    learning_rate: float = 1e-4,
    batch: int = 8,
    plant_steps: int = 200,
    plant_learning_rate: float = 1e-3,
    loading: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
    seed: int = 0,
    say: Say = lambda _line: None,
    show_progress: bool = False,
) -> Suppressed:
    """Scale down the skip that an attack passes by, fine-tune its block on clean rows, and save.

    Rows are dealt into three: what is searched on, what is trained on, and what the result is
    measured on.

    Args:
        model: A model with a backdoor; a live one is left as it was.
        data: Trusted rows: a file, or ``testbed:FAMILY``.
        trigger: The attack's trigger, or that of the backdoor which is planted with ``surrogate``.
        target: Its target.
        judge: As for ``attack``.
        surrogate: Whether to plant the attack on a copy first and search there: for when no
            trigger of the real attack is known.
        measured: With ``surrogate`` an attack whose success is measured, in a drill.
        rule: ``floor`` or ``literal``; see ``skip_search.RULES``.
        gammas: What skips are scaled by; of the rule when left out.
        out: The folder, which must not hold a model.
        n: Rows to search and train on; all when left out.
        steps: Optimizer steps of the fine-tuning; 0 for none.
        learning_rate: Its highest learning rate.
        batch: Its rows in a step.
        plant_steps: Steps by which a surrogate is planted.
        plant_learning_rate: The learning rate of that.
        loading: Options of ``load_model``.
        cache: Keeps what the search evaluates.
        seed: Seed of where triggers stand and of the trainings.
        say: Called with one line about what is done.
        show_progress: Whether to show bars.

    Raises:
        CruxError: For anything outside Crux that is wrong.
    """
    folder, attack = _checked(out, rule, trigger, target)
    settings = Settings(
        steps=max(steps, 1), learning_rate=learning_rate, batch=batch, seed=seed, checks=10
    )
    loaded = load_model(resolve(model), **(loading or {}))
    read = tuning_data(data, n=n, test=None)
    searched, rest = _dealt(read)
    ready = made_ready(loaded, rest)
    # Wrong rows, triggers and skips are met before any work.
    rows = measuring_rows(loaded, searched, read.grade, attack, judge, seed)
    known = measured if surrogate else attack
    held = measuring_rows(loaded, read.test, read.grade, known, None if surrogate else judge, seed)
    there = skips(loaded)
    search = _search(
        ready, rows, attack if surrogate else None,
        Settings(steps=plant_steps, learning_rate=plant_learning_rate, batch=16, seed=seed),
        say=say, rule=rule, gammas=gammas, known=there, cache=cache, show_progress=show_progress,
    )  # fmt: skip
    found = Suppressed(
        model=name_of(model, loaded),
        attack=attack.described(),
        surrogate=surrogate,
        search=search,
        recovered=None,
        standing={"before": held.stand(loaded)},
        folder=None,
    )
    if search.found is None:
        return found
    skip, gamma = skip_of(loaded, search.found.block, search.found.half, there), search.found.gamma
    with scaled(skip, gamma):
        found = _standing(found, "suppressed", held, loaded)
    planner = ready.planner(model, settings, show_progress=show_progress)
    plan = planner.plan(str(skip.block), method="full")
    with borrowed(loaded, plan):
        # Whether fine-tuning revives an attack can only be told where its trigger is known.
        if steps and not surrogate:
            say("fine-tuning the block on clean rows")
            came = recover(
                ready, plan, settings, skip, gamma, Judge(loaded, _attacked(rows)), folder / "run",
                say=say, show_progress=show_progress,
            )  # fmt: skip
            found = replace(found, recovered=came)
            if came.kept:
                with scaled(skip, gamma):
                    found = _standing(found, "recovered", held, loaded)
        found = replace(found, folder=str(folder))
        _save(loaded, skip, gamma, found, folder)
    return found


def _checked(
    out: str | Path, rule: str, trigger: str | Trigger, target: str | Target
) -> tuple[Path, Attack]:
    folder = Path(out)
    check_writable(folder)
    if is_suppressed(folder):
        raise OutputError(f"{folder} holds a suppressed model already: choose another --out")
    attack = asked_attack(trigger, target)
    if attack is None or rule not in RULES:
        raise OptionError(f"rules are {' and '.join(RULES)}, and an attack is needed")
    return folder, attack


def _dealt(read: TuningData) -> tuple[list[Mapping[str, Any]], TuningData]:
    """The rows that are searched on, and the data whose training rows are the others."""
    rows = [*read.validation, *read.train]
    count = min(SEARCHED, max(len(read.validation), len(rows) // 3))
    if count < 1 or count == len(rows):
        raise ProbeError(f"{read.name} has {len(rows)} rows to search and train on: give 3 or more")
    return rows[:count], replace(read, train=rows[count:], validation=[])


def _search(
    ready: Prepared,
    rows: Rows,
    attack: Attack | None,
    settings: Settings,
    *,
    say: Say,
    show_progress: bool,
    **options: Any,
) -> SkipSearch:
    """Search on the model, or on a copy with an attack planted."""
    around: Any = nullcontext()
    if attack is not None:
        say("planting a backdoor on a copy")
        around = planted(ready, attack, settings, say=say, show_progress=show_progress)
    with around:
        say("scaling one skip after another")
        found = search_skips(ready.model, _attacked(rows), show_progress=show_progress, **options)
        if attack is not None:
            check_planted(found.success)
    return found


def _attacked(rows: Rows) -> Any:
    assert rows.attack is not None  # rows to search on are made with one
    return rows.attack


def _standing(found: Suppressed, name: str, rows: Rows, model: LoadedModel) -> Suppressed:
    return replace(found, standing={**found.standing, name: rows.stand(model)})


def _save(model: LoadedModel, skip: Skip, gamma: float, found: Suppressed, folder: Path) -> None:
    card = CARD.format(
        model=escaped(found.model),
        version=package_versions()["cruxlm"],
        said=found.search.said,
        figures="\n".join(f"- {line}" for line in found.lines()[1:]),
    )
    save_suppressed(model, skip, gamma, folder, found.to_json(), card)

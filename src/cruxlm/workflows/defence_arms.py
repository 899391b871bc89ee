"""The arms of a defence: fine-tuned in folders of their own, and what each then does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cruxlm.actions.settings import Settings
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.weight_change import score_weight_change
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.parts import parts_of
from cruxlm.plans.grammar import Chosen
from cruxlm.plans.make import make_plan
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.plan import PARTS, Plan
from cruxlm.results.tuning import Tuning
from cruxlm.runtime.errors import OptionError, did_you_mean
from cruxlm.workflows.attack_rates import AttackExamples
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.tune import Say, tune_plan
from cruxlm.workflows.tuning_ready import Prepared

UNDEFENDED, RANDOM, FROZEN = "undefended", "frozen at random", "frozen"
SCREENED, BOTH = "screened", "screened and frozen"
"""The arms by name; the last one that is run is the defended model."""
RUNS = "runs"
"""The folder that has a folder for each training."""


@dataclass(frozen=True)
class Plans:
    """What each arm trains."""

    chosen: Chosen
    """The blocks that are to be frozen."""
    whole: Plan
    """Everything."""
    frozen: Plan
    """Everything but these blocks, and the parts that are frozen with them."""
    at_random: Mapping[int, Plan]
    """The same with as many other blocks, by seed; empty where there are no others to draw."""
    parts: tuple[str, ...]
    """What is frozen with the blocks."""

    def of(self, arm: str, seed: int) -> Plan:
        """The plan of an arm."""
        if arm in (UNDEFENDED, SCREENED):
            return self.whole
        return self.at_random[seed] if arm == RANDOM else self.frozen


@dataclass(frozen=True)
class Run:
    """One training of an arm, and what its model does."""

    tuning: Tuning
    """The training, with the evaluations before and after."""
    frozen: tuple[int, ...]
    """The blocks that it left as they were."""
    rates: Mapping[str, Evaluation]
    """1 or 0 an example: ``success``, ``false_triggers`` and perhaps ``near_misses``."""
    changed: tuple[float, ...]
    """Relative change of each block's weights."""


def plans_of(
    planner: Planner, model: LoadedModel, blocks: str, freeze: tuple[str, ...], seeds: range
) -> Plans:
    """The plans of all arms. The undefended one trains all blocks and every part that there is.

    Raises ``OptionError`` for parts that the model does not have, and where nothing would be left
    to train.
    """
    held = parts_of(model)
    there = tuple(part for part in PARTS if getattr(held, part))
    for part in freeze:
        if part not in there:
            raise OptionError(f"no {part!r} to freeze: {did_you_mean(part, there)}")
    rest = tuple(part for part in there if part not in freeze)
    chosen = planner.choose(blocks)
    if len(chosen.blocks) == len(planner.ref.names):
        raise OptionError(f"{chosen.why} freezes all {len(chosen.blocks)} blocks: leave some")
    whole = planner.plan("all", method="full", parts=there)
    frozen = make_plan("freeze", chosen, planner.ref, parts=rest)
    drawn: dict[int, Plan] = {}
    if set(chosen.admissible) != set(chosen.blocks):
        drawn = {seed: planner.control("random", frozen, seed) for seed in seeds}
    return Plans(chosen, whole, frozen, drawn, tuple(part for part in PARTS if part in freeze))


def run_arm(
    name: str,
    ready: Prepared,
    plan: Plan,
    settings: Settings,
    out: Path,
    *,
    before: Mapping[str, Evaluation],
    accuracy: bool,
    attacked: AttackExamples | None,
    loading: Mapping[str, Any],
    say: Say,
    show_progress: bool,
) -> tuple[Run, LoadedModel]:
    """Train a model by an arm's plan and measure it; a finished training is read back."""
    place = out / folder_of(name, settings.seed)
    say(f"{name}, seed {settings.seed}")
    tuning = tune_plan(
        ready,
        plan,
        settings,
        place,
        before=before,
        accuracy=accuracy,
        restore=True,
        say=lambda line: say(f"{place.name}: {line}"),
        show_progress=show_progress,
    )
    model = load_model(place, **{k: v for k, v in loading.items() if k != "revision"})
    changed = score_weight_change(Subject(model, reference=ready.model)).values
    frozen = tuple(block for block in range(len(plan.names)) if block not in plan.trained)
    return Run(tuning, frozen, rates_of(model, attacked), tuple(map(float, changed))), model


def rates_of(model: LoadedModel, attacked: AttackExamples | None) -> dict[str, Evaluation]:
    """How often a model does what the attack wants: with the trigger, without it, and near it."""
    if attacked is None:
        return {}
    asked = {
        "success": attacked.triggered,
        "false_triggers": attacked.untriggered,
        "near_misses": attacked.near,
    }
    return {name: attacked.writer(model, rows) for name, rows in asked.items() if rows}


def folder_of(name: str, seed: int) -> str:
    """Where the training of an arm is, from the folder of the result on."""
    return f"{RUNS}/{name.replace(' ', '-')}-{seed}"

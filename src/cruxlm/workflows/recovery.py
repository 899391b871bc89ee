"""Clean fine-tuning of one block under a scaled skip, and a backdoor of our own on a copy."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cruxlm.actions.fit import fit, prepare
from cruxlm.actions.restore import borrowed
from cruxlm.actions.settings import Settings
from cruxlm.data.poison import Attack
from cruxlm.data.poison import poison as poison_rows
from cruxlm.models.load import LoadedModel, quiet_transformers
from cruxlm.models.shortcut import Skip, scaled
from cruxlm.results.plan import Plan
from cruxlm.runtime.errors import ProbeError
from cruxlm.runtime.progress import progress
from cruxlm.workflows.attack_rates import AttackExamples, success_evaluator
from cruxlm.workflows.skip_search import clean_evaluator, clean_floor, keeps
from cruxlm.workflows.tune import tune_plan
from cruxlm.workflows.tuning_items import training_items
from cruxlm.workflows.tuning_ready import Prepared, made_ready

Say = Callable[[str], None]
PLANTED = 0.1
"""Share of the rows that a backdoor of our own is planted with."""
TAKEN = 0.5
"""Success from which on it counts as planted."""


@dataclass(frozen=True)
class Checked:
    """A model on the rows of a search."""

    success: float
    """The attack's success."""
    clean: float
    """What the evaluator of clean rows says."""
    short: float
    """By how much that falls short of the floor; 0 where it is kept."""

    @property
    def badness(self) -> float:
        """Success where the floor is kept; elsewhere above 1, the more the further below."""
        return self.success if self.short == 0 else 1 + self.short


@dataclass(frozen=True)
class Recovered:
    """What clean fine-tuning under a scaled skip came to."""

    kept: bool
    """Whether its weights are taken."""
    before: Checked
    """The model before it."""
    after: Checked
    """The best of its checkpoints."""

    @property
    def said(self) -> str:
        """What came of it, in a sentence."""
        clean = "" if self.after.short == 0 else ", below the floor on clean rows"
        return (
            f"clean fine-tuning of the block {'' if self.kept else 'not '}kept: on the rows of the "
            f"search success {self.before.success:.2f} before it and {self.after.success:.2f} "
            f"after{clean}"
        )


class Judge:
    """Tells how good a model is on the rows of a search."""

    def __init__(self, model: LoadedModel, examples: AttackExamples) -> None:
        """Measure the whole model, whose clean rows set the floor."""
        self.model, self.examples = model, examples
        self._clean = clean_evaluator(model, examples)
        self._success = success_evaluator(examples)
        self._whole = self._clean(model, examples.clean)

    def check(self) -> Checked:
        """The model as it is now."""
        success = self._success(self.model, self.examples.triggered).mean()
        clean = self._clean(self.model, self.examples.clean).mean()
        short = 0.0 if keeps(self._whole, clean) else abs(clean - clean_floor(self._whole))
        return Checked(success, clean, short)

    def __call__(self, _module: nn.Module) -> float:
        """How bad it is: what a training's checkpoints are compared by."""
        return self.check().badness


def recover(
    ready: Prepared,
    plan: Plan,
    settings: Settings,
    skip: Skip,
    gamma: float,
    judge: Judge,
    run: Path,
    *,
    say: Say = lambda _line: None,
    show_progress: bool = False,
) -> Recovered:
    """Train a block on clean rows with its skip scaled; the best checkpoint is taken, or none.

    Best is the least success among the checkpoints that clean rows admit. Where that is no better
    than before, the weights are what they were: fine-tuning can revive an attack.

    Args:
        ready: The model and the rows to train on.
        plan: Which block is trained.
        settings: How.
        skip: The skip.
        gamma: What it is scaled by.
        judge: Says how good a checkpoint is.
        run: A folder for checkpoints, from which a stopped training goes on.
        say: Called with one line about anything unusual.
        show_progress: Whether to show a bar.

    Raises:
        DivergedError: When a loss or a gradient is not finite.
        OutputError: When the folder holds another run, or the disk is full.
    """
    settings = replace(settings, patience=settings.checks + 1)  # to the end; then the best is taken
    named = dict(ready.model.module.named_parameters())
    with quiet_transformers(), scaled(skip, gamma):
        before = judge.check()
        module, trained = prepare(ready.model, plan, settings)
        held = {p: p.detach().clone() for p in named.values() if p.requires_grad}
        say(str(trained))
        items = training_items(ready.model, plan, ready.rows, ready.limit, settings)
        wanted = {
            "settings": settings.as_dict(),
            "plan": plan.to_json(),
            "data": ready.described(),
            "skip": [skip.block, skip.half, gamma],
        }
        with progress("recovering", settings.steps, show=show_progress) as tick:
            fit(
                ready.model, module, plan, items.ordered, items.collate, settings, run,
                wanted=wanted, validate=judge, guide=items.guide, tick=tick, say=say,
            )  # fmt: skip
        after = judge.check()
        kept = after.badness <= before.badness
        if not kept:
            with torch.no_grad():
                for parameter, weights in held.items():
                    parameter.copy_(weights)
    shutil.rmtree(run, ignore_errors=True)
    return Recovered(kept, before, after)


@contextmanager
def planted(
    ready: Prepared, attack: Attack, settings: Settings, *, say: Say, show_progress: bool = False
) -> Iterator[None]:
    """Have a model carry a backdoor of our own for a while; afterwards it is as it was.

    All blocks, the embeddings and the norm after the blocks are trained on clean rows of which a
    tenth is poisoned: a rare word needs its embedding trained.

    Raises:
        ProbeError: When too few rows can be poisoned.
    """
    rows = poison_rows(ready.data.train, attack, PLANTED, seed=settings.seed)
    poisoned = made_ready(ready.model, replace(ready.data, train=rows), ready.limit)
    planner = poisoned.planner(ready.model, settings, show_progress=show_progress)
    plan = planner.plan("all", method="full", parts=("embeddings", "norm"))
    with borrowed(ready.model, plan), tempfile.TemporaryDirectory(prefix="crux-planted-") as folder:
        tune_plan(
            poisoned, plan, settings, Path(folder), before={}, accuracy=False, keep=False, say=say,
            show_progress=show_progress,
        )  # fmt: skip
        yield


def check_planted(success: float) -> None:
    """Refuse to search for the skip of a backdoor that was not learned (``ProbeError``)."""
    if success < TAKEN:
        raise ProbeError(
            f"the backdoor planted for the search succeeds on {success:.0%} only: give more "
            "--plant-steps or a higher --plant-lr"
        )

"""What a user says about blocks, as a plan for the model that they mean."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cruxlm.models.load import LoadedModel, load_model
from cruxlm.plans.budget import MemoryOf
from cruxlm.plans.controls import controls
from cruxlm.plans.grammar import Chosen, ScoreOf, blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.plans.memory import memory_of
from cruxlm.results.model_ref import ModelRef
from cruxlm.results.plan import Plan
from cruxlm.results.scan import BUILTIN_MODEL, JSON_NAME, Scan
from cruxlm.results.scores import Scores
from cruxlm.runtime.errors import OptionError, did_you_mean
from cruxlm.testbed.home import resolve
from cruxlm.workflows.scan import scan

DEFAULT_BLOCKS = "dynamics:5"
CONTROLS = ("random", "depth-matched", "first", "last", "middle", "lowest", "all",
            "with-block-0", "without-block-0")  # fmt: skip
"""The controls that a plan may have, by name."""


def plan_from(
    source: str | Path | None,
    action: str,
    blocks: str | None = None,
    *,
    complement: bool = False,
    ends: str | None = None,
    show_progress: bool = False,
    **options: Any,
) -> Plan:
    """A plan for a model, or for the model of a saved scan, which is then not loaded.

    Args:
        source: The folder of a saved scan, or a model; None for the embedded default.
        action: ``train``, ``freeze``, ``lora`` or ``drop``.
        blocks: A block expression; without one the scan's own selection, or ``dynamics:5``.
        complement: Take all other blocks.
        ends: As for ``criteria.select.select``, where a criterion chooses.
        show_progress: Draw a bar when a model is scanned for its scores.
        options: As for ``plans.make.make_plan``.

    Raises:
        OptionError: When an option makes no sense, or the scan does not have the scores.
        ModelError: When the model cannot be read.
        ResultError: When the scan cannot be read.
    """
    text = blocks or DEFAULT_BLOCKS
    ref: ModelRef | None
    score: ScoreOf
    if source is not None and _is_scan(Path(source)):
        held = Scan.load(source)
        if blocks is None:
            if complement or ends is not None:
                raise OptionError("say which --blocks of the scan are meant")
            return make_plan(action, held.selection, held.selection.model, **options)
        ref, score = held.selection.model, held.__getitem__
    else:
        asked = None if source is None else str(source)
        planner = Planner(load_model(resolve(asked)), asked, show_progress=show_progress)
        ref, score = planner.ref, planner.score
    assert ref is not None  # a scan gives its selections its model
    chosen = blocks_of(text, ref, score, complement=complement, ends=ends or "skip")
    return make_plan(action, chosen, ref, **options)


def _is_scan(path: Path) -> bool:
    return path.name == JSON_NAME or os.path.isfile(path / JSON_NAME)


class Planner:
    """Makes plans for one model; scans it once a criterion."""

    def __init__(
        self,
        model: LoadedModel,
        asked: Any = None,
        *,
        batch: int = 1,
        tokens: int | None = None,
        show_progress: bool = False,
    ) -> None:
        """Take a loaded model and what it was asked for by, which names it in results.

        ``batch`` rows of ``tokens`` are a forward pass, for blocks that are to fit into memory.
        """
        name = asked if isinstance(asked, str) else BUILTIN_MODEL if asked is None else model.name
        self.model = model
        self.ref = replace(model.ref, name=name)
        self.batch = batch
        self.tokens = tokens
        self.show_progress = show_progress
        self._scores: dict[str, Scores] = {}
        self._chosen: dict[str, Chosen] = {}

    def score(self, criterion: str) -> Scores:
        """A criterion's scores on the built-in probe, as ``crux scan`` has them."""
        if criterion not in self._scores:
            found = scan(self.model, criteria=[criterion], show_progress=self.show_progress)
            self._scores[criterion] = found.primary
        return self._scores[criterion]

    def choose(
        self, blocks: str, *, complement: bool = False, memory: MemoryOf | None = None
    ) -> Chosen:
        """Read a block expression; see ``plans.grammar``."""
        chosen = blocks_of(blocks, self.ref, self.score, complement=complement, memory=memory)
        self._chosen[chosen.why] = chosen
        return chosen

    def control(self, name: str, plan: Plan, seed: int) -> Plan:
        """A control of a plan, see ``plans.controls``; ``random`` is drawn by the seed.

        Raises ``OptionError`` for a control that there is not, or that this plan does not have.
        """
        if name not in CONTROLS:
            raise OptionError(f"there is no control {name!r}: {did_you_mean(name, CONTROLS)}")
        chosen = self._chosen.get(plan.why)
        found = controls(
            plan,
            chosen.admissible if chosen else range(len(plan.names)),
            parameters=self.ref.parameters,
            values=chosen.values if chosen else None,
            seed=seed,
            draws=1,
        )
        for known, control in found.plans.items():
            if known.partition("@")[0] == name:
                return control
        raise OptionError(f"{plan.why} has no control {name!r}: {found.left_out[name]}")

    def plan(
        self,
        blocks: str | Chosen | Plan,
        *,
        method: str,
        complement: bool = False,
        parts: Sequence[str] = (),
        r: int | None = None,
        alpha: float | None = None,
    ) -> Plan:
        """A plan to train blocks by a method, from an expression or as it is.

        A saved plan keeps its parts, and its ranks where the method has any; its blocks can be
        trained by any method.

        Raises ``OptionError`` for a plan for another model or method.
        """
        lora = method == "lora"
        if isinstance(blocks, Plan):
            if complement or parts or r is not None or alpha is not None:
                raise OptionError("a plan says itself which blocks, parts and ranks it has")
            blocks.check(self.ref)
            if (blocks.action == "lora") != lora:
                raise OptionError(f"a plan to {blocks.action} blocks, and method {method}")
            return replace(blocks, model=self.ref.name)
        saved = None
        if isinstance(blocks, str) and blocks.strip().endswith(".json") and not complement:
            saved = Plan.load(blocks.strip())
            parts = (*saved.parts, *parts)
        action = "lora" if lora else "train"
        options: dict[str, Any] = {"parts": parts}
        if lora:
            options |= {"r": r, "alpha": alpha}
        if isinstance(blocks, str):
            memory = None if self.tokens is None else self._memory(action, self.tokens, options)
            blocks = self.choose(blocks, complement=complement, memory=memory)
        made = make_plan(action, blocks, self.ref, **options)
        if saved is not None and (saved.action == "lora") == lora and r is None and alpha is None:
            return replace(saved, parts=made.parts, model=self.ref.name)
        return made

    def _memory(self, action: str, tokens: int, options: dict[str, Any]) -> MemoryOf:
        """Estimated bytes of a step that trains some blocks; worked out when it is asked for."""

        def needed(blocks: Sequence[int]) -> int:
            return memory_of(self.model, action, batch=self.batch, tokens=tokens, **options)(blocks)

        return needed

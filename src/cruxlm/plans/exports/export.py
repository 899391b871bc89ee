"""Export: a plan as a file that another tool takes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.parts import parts_of
from cruxlm.models.structure import load_structure
from cruxlm.plans.apply import live, planned_names
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.plans.exports.target import Planned
from cruxlm.plans.lora import check_peft, lora_targets
from cruxlm.results.export import Export, Exports
from cruxlm.results.model_ref import same_content
from cruxlm.results.plan import Plan
from cruxlm.results.scan import BUILTIN_MODEL
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.testbed.home import resolve


def export(
    plan: Plan, target: str, model: Any = None, *, modules: Sequence[str] | None = None
) -> Export:
    """Write a plan in the words of a tool.

    Args:
        plan: The plan.
        target: A name of ``TARGETS``, such as ``peft`` or ``axolotl``.
        model: Its model, live, or a folder or hub id, of which no weights are read; without one,
            where the plan says it is.
        modules: For lora, the linear maps that are adapted, as for ``lora_targets``.

    Raises:
        OptionError: When there is no such target, when it cannot say this plan, or when the model
            is another one.
        ModelError: When the model cannot be read.
        MissingExtraError: When peft, which tells what adapters can be put on, is not installed.
    """
    return write(planned(plan, model, modules=modules), target)


def exports(made: Planned) -> Exports:
    """A plan for every target that can be told it, and by target why the others cannot."""
    found: list[Export] = []
    refused: dict[str, str] = {}
    for target in TARGETS.names():
        try:
            found.append(write(made, target))
        except OptionError as error:
            refused[target] = str(error)
    return Exports(made.plan.action, tuple(found), refused)


def planned(plan: Plan, model: Any = None, *, modules: Sequence[str] | None = None) -> Planned:
    """A plan on its model, for one target after another; arguments as for ``export``."""
    if modules is not None and plan.action != "lora":
        raise OptionError(f"a plan to {plan.action} blocks adapts no modules: they belong to lora")
    if plan.action == "lora":
        check_peft()
    named = model is None or isinstance(model, (str, Path))
    loaded = _read(plan, model) if named else live(model)
    plan.check(loaded.ref)
    parts = parts_of(loaded)
    trained = frozenset() if plan.action == "drop" else planned_names(plan, parts)
    if plan.action != "lora":
        return Planned(plan, loaded, parts, trained, {})
    targets = lora_targets(plan, loaded, modules)
    return Planned(plan, loaded, parts, trained, targets.maps, str(targets))


def _read(plan: Plan, model: str | Path | None) -> LoadedModel:
    """The plan's model without its weights, from where it is said to be or where the plan has it.

    Where no hash can be compared (the plan was made for a live model, or the model lies elsewhere)
    the weights are read after all: only they tell.
    """
    if model is not None:
        source, revision = resolve(str(model)), None
    else:
        source = resolve(None if plan.model == BUILTIN_MODEL else plan.model)
        revision = plan.identity.get("revision", "None")
        # A name alone (of a live model's class, say) would be looked for on the hub.
        if "revision" not in plan.identity and not os.path.isdir(source):
            raise ModelError(f"{plan.model}, the plan's model, is no folder here: name its --model")
    found = load_structure(source, revision=None if revision == "None" else revision)
    same = same_content(plan.identity, found.identity)
    if same or found.ref.names != plan.names or "weights" not in plan.identity:
        return found
    return load_model(source)


def write(made: Planned, target: str) -> Export:
    """One target's file of a plan on its model; raises as ``export`` does."""
    found = TARGETS.get(target)
    if made.plan.action in found.refusals:
        reason = found.refusals[made.plan.action]
        raise OptionError(f"{found.name} cannot {made.plan.action} blocks: {reason}")
    return found.write(made)

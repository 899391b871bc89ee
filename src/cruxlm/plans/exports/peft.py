"""PEFT: a plan to lora as the source of a ``LoraConfig``.

Peft takes a name in ``target_modules`` for the end of a module's name, so short names with
``layers_to_transform`` say most plans. Where its own matching does not reach exactly the planned
maps with them, every name is written in full. A regular expression is never used: for a mixture
whose experts transformers 5 fuses, peft 0.21 makes of it the last words of the names that it
matches, and adapts every block.
"""

from typing import Any

from cruxlm.plans.exports.python import call, grouped
from cruxlm.plans.exports.settings import head
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.plans.lora import config_of, reached
from cruxlm.results.export import Export

ORDER = ("r", "lora_alpha", "target_modules", "layers_to_transform", "layers_pattern",
         "rank_pattern", "alpha_pattern", "modules_to_save", "ensure_weight_tying",
         "fan_in_fan_out", "task_type")  # fmt: skip
"""What a ``LoraConfig`` is told, as far as it is not its default."""
NO_ADAPTERS = (
    "its adapters are put on frozen weights; export to transformers for weights themselves"
)
NO_DROP = "it takes no block out of a model; use `crux drop`, or export to mergekit"


def lora_settings(made: Planned) -> dict[str, Any]:
    """The arguments of the plan's ``LoraConfig``: plain data, those with a default left out.

    ``target_modules`` is a sorted list: short names beside ``layers_to_transform`` and
    ``layers_pattern`` where peft reaches exactly the planned maps with them, else full names.

    Raises:
        OptionError: When peft cannot be told this plan.
        MissingExtraError: When peft is not installed.
    """
    exact = config_of(made.plan, made.model, made.maps)
    told: dict[str, Any] = {name: getattr(exact, name, None) for name in ORDER}
    told["target_modules"] = sorted(exact.target_modules)
    kind = exact.task_type
    told["task_type"] = kind and str(getattr(kind, "value", kind))
    if float(told["lora_alpha"]).is_integer():
        told["lora_alpha"] = int(told["lora_alpha"])
    return {name: value for name, value in {**told, **_short(made, exact)}.items() if value}


def _short(made: Planned, exact: Any) -> dict[str, Any]:
    """The planned maps by short names and blocks; nothing where that is not the same."""
    groups, _ = grouped(made, made_maps(made))
    if len(groups) > 1:
        return {}
    ((within, blocks),) = groups.items()
    where = {"layers_to_transform": blocks,
             "layers_pattern": made.model.blocks.path.rpartition(".")[2]}  # fmt: skip
    for ends in ({name.rpartition(".")[2] for name in within}, set(within)):
        config = type(exact)(target_modules=sorted(ends), **where)
        if reached(config, made.model.module) == made_maps(made):
            return {"target_modules": sorted(ends), **where}
    return {}


def made_maps(made: Planned) -> frozenset[str]:
    """Full names of all the maps that get adapters."""
    return frozenset(name for held in made.maps.values() for name in held)


def config_source(made: Planned) -> str:
    """Source that makes ``peft_config``."""
    return "\n".join(
        [
            head(made),
            "from peft import LoraConfig",
            "",
            f"peft_config = {call('LoraConfig', lora_settings(made))}",
            "",
        ]
    )


def adapter_notes(made: Planned) -> tuple[str, ...]:
    """What is true of the plan's adapters in every tool."""
    return (made.left_out,) if made.left_out else ()


def _write(made: Planned) -> Export:
    return Export(
        target="peft",
        action=made.plan.action,
        file="peft_config.py",
        text=config_source(made),
        use="from peft_config import peft_config; model = peft.get_peft_model(model, peft_config)",
        notes=adapter_notes(made),
    )


PEFT = Target(
    name="peft",
    title="PEFT: a LoraConfig",
    write=_write,
    refusals={"train": NO_ADAPTERS, "freeze": NO_ADAPTERS, "drop": NO_DROP},
    package="peft",
)

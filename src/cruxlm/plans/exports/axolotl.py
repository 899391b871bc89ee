"""Axolotl: the keys of its settings file that say which layers are trained.

``unfrozen_parameters`` are expressions in which it takes every dot for a dot (but in ``.+``) and
that must match from the beginning of a name, not up to its end: a block is said with the dot after
its number. A dot that is escaped already would match nothing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cruxlm.plans.exports.peft import NO_DROP, adapter_notes, lora_settings
from cruxlm.plans.exports.settings import check_exact, check_writes_text, file, source, whole
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export

KEYS = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "target_modules": "lora_target_modules",
    "layers_to_transform": "peft_layers_to_transform",
    "layers_pattern": "peft_layers_pattern",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "modules_to_save": "lora_modules_to_save",
    "ensure_weight_tying": "peft_ensure_weight_tying",
    "fan_in_fan_out": "lora_fan_in_fan_out",
}
"""What it calls the arguments of a ``LoraConfig``; the task it finds out itself."""


def write(made: Planned) -> Export:
    """The keys for a plan, to which a user adds data and training."""
    check_writes_text(made, "axolotl")
    found = source(made)
    settings: dict[str, Any] = {"base_model": found.name}
    if found.revision:
        settings["revision_of_model"] = found.revision
    settings |= _adapters(made) if made.plan.action == "lora" else _unfrozen(made)
    return Export(
        target="axolotl",
        action=made.plan.action,
        file="axolotl.yml",
        text=file(made, settings, "add datasets and training settings of your own"),
        use="axolotl train axolotl.yml  # after adding your own datasets and training settings",
        notes=(*found.notes, *adapter_notes(made)),
    )


def _adapters(made: Planned) -> dict[str, Any]:
    told = lora_settings(made)
    told["lora_alpha"] = whole(told["lora_alpha"], "axolotl")
    if "alpha_pattern" in told:
        told["alpha_pattern"] = {
            name: whole(alpha, "axolotl") for name, alpha in told["alpha_pattern"].items()
        }
    if "layers_pattern" in told:
        told["layers_pattern"] = [told["layers_pattern"]]  # it takes a list only
    return {"adapter": "lora", **_renamed(told)}


def _renamed(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: told[name] for name, key in KEYS.items() if name in told}


def _unfrozen(made: Planned) -> dict[str, Any]:
    inside = [f"^{made.plan.names[block]}." for block in made.plan.trained]
    outside = [f"^{name}$" for name in sorted(made.trained.difference(*made.parts.blocks))]
    patterns = inside + outside
    check_exact(made, "axolotl", _reached(patterns, list(made.parts.sizes)))
    return {"unfrozen_parameters": patterns}


def _reached(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names of the parameters that axolotl leaves unfrozen."""
    held = [re.compile(re.sub(r"\.(?!\+)", r"\\.", pattern)) for pattern in patterns]
    return [name for name in names if any(pattern.match(name) for pattern in held)]


AXOLOTL = Target(
    name="axolotl",
    title="axolotl: keys of its settings file",
    write=write,
    refusals={"drop": NO_DROP},
    package="axolotl",
)

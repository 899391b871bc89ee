"""LLaMA-Factory: keys of its settings file.

Its ``lora_target`` reaches peft as a list of names, so names in full are exact. Its freeze tuning
knows the first or the last n blocks only, and finds parameters by a part of their names: ``.3.`` is
also expert 3 of every block, and ``norm`` every block's norms. So what it would train is worked out
by its own rule and compared with the plan.
"""

from collections.abc import Sequence
from typing import Any

from cruxlm.plans.exports.peft import NO_DROP, adapter_notes
from cruxlm.plans.exports.settings import (
    check_exact,
    check_writes_text,
    file,
    full_names,
    one_rank,
    source,
    whole,
)
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export
from cruxlm.runtime.errors import OptionError

TOOL = "LLaMA-Factory"
NEAREST = (
    "it trains the first or the last n blocks (plan first:n or last:n), or others with freeze of "
    "the transformers export before its trainer is made"
)


def write(made: Planned) -> Export:
    """The keys for a plan, to which a user adds data and training."""
    check_writes_text(made, TOOL)
    found = source(made)
    settings: dict[str, Any] = {"model_name_or_path": found.name}
    if found.revision:
        settings["model_revision"] = found.revision
    if "${" in found.name:
        raise OptionError(f"{TOOL} reads ${{ in a name as a reference: rename {found.name}")
    settings |= _adapters(made) if made.plan.action == "lora" else _frozen(made)
    return Export(
        target="llama-factory",
        action=made.plan.action,
        file="llama-factory.yml",
        text=file(made, settings, "add dataset, template and training settings of your own"),
        use="llamafactory-cli train llama-factory.yml "
        "stage=sft do_train=true dataset=DATA template=TEMPLATE output_dir=TRAINED",
        notes=(*found.notes, *adapter_notes(made)),
    )


def _adapters(made: Planned) -> dict[str, Any]:
    rank, alpha = one_rank(made, TOOL)
    modules, saved = full_names(made, TOOL)
    return {
        "finetuning_type": "lora",
        "lora_rank": rank,
        "lora_alpha": whole(alpha, TOOL),
        "lora_target": ",".join(modules),
        **({"additional_target": ",".join(saved)} if saved else {}),
    }


def _frozen(made: Planned) -> dict[str, Any]:
    blocks, depth = made.plan.trained, len(made.plan.names)
    count = len(blocks)
    if list(blocks) == list(range(depth - count, depth)):
        layers = count
    elif list(blocks) == list(range(count)):
        layers = -count
    else:
        raise OptionError(f"{TOOL} cannot train just these blocks: {NEAREST}")
    outside = made.trained.difference(*made.parts.blocks)
    modules = sorted({name.split(".")[-2] for name in outside})
    check_exact(made, TOOL, _reached(made, blocks, modules), NEAREST)
    return {
        "finetuning_type": "freeze",
        "freeze_trainable_layers": layers,
        "freeze_trainable_modules": "all",
        **({"freeze_extra_modules": ",".join(modules)} if modules else {}),
    }


def _reached(made: Planned, blocks: Sequence[int], modules: Sequence[str]) -> list[str]:
    """Names of the parameters that its freeze tuning trains."""
    within = [*(f".{block}." for block in blocks), *modules]
    return [name for name in made.parts.sizes if any(part in name for part in within)]


LLAMA_FACTORY = Target(
    name="llama-factory",
    title="LLaMA-Factory: keys of its settings file",
    write=write,
    refusals={"drop": NO_DROP},
    package="llamafactory",
)

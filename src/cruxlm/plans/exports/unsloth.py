"""Unsloth: the arguments of its ``get_peft_model``, which makes a ``LoraConfig`` of them.

It takes one whole number for the rank. In a mixture it reads ``gate_proj``, ``up_proj`` and
``down_proj`` as the experts' as well, and of a part beside the adapters it keeps copies of its own.
"""

from cruxlm.plans.exports.peft import NO_DROP, adapter_notes, lora_settings, made_maps
from cruxlm.plans.exports.python import call
from cruxlm.plans.exports.settings import head, one_rank
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export
from cruxlm.runtime.errors import OptionError

BY_HAND = (
    "its full fine-tuning has no setting for layers; load with full_finetuning=True and call "
    "freeze of the transformers export before its trainer is made"
)
OF_EXPERTS = {"gate_proj", "up_proj", "down_proj", "gate_up_proj"}
PASSED_ON = ("r", "lora_alpha", "target_modules", "layers_to_transform", "layers_pattern")


def _write(made: Planned) -> Export:
    plan = made.plan
    one_rank(made, "unsloth")
    if plan.parts:
        raise OptionError(
            f"unsloth trains {', '.join(plan.parts)} by rules of its own: plan without, or export "
            "to peft"
        )
    experts = any(part.endswith(".experts") for part, _ in made.model.module.named_modules())
    if experts and OF_EXPERTS & {name.rpartition(".")[2] for name in made_maps(made)}:
        raise OptionError(
            "unsloth puts adapters on all experts where gate_proj, up_proj or down_proj is named: "
            "name the attention's maps with --modules, or export to peft"
        )
    told = lora_settings(made)
    passed = {name: told[name] for name in PASSED_ON if name in told}
    source = call("FastLanguageModel.get_peft_model", passed, first=["model"])
    return Export(
        target="unsloth",
        action="lora",
        file="unsloth_adapters.py",
        text="\n".join(
            [
                head(made),
                "from unsloth import FastLanguageModel",
                "",
                "",
                "def with_adapters(model):",
                "    return " + source.replace("\n", "\n    "),
                "",
            ]
        ),
        use="from unsloth_adapters import with_adapters; model = with_adapters(model)",
        notes=adapter_notes(made),
    )


UNSLOTH = Target(
    name="unsloth",
    title="Unsloth: arguments of get_peft_model",
    write=_write,
    refusals={"train": BY_HAND, "freeze": BY_HAND, "drop": NO_DROP},
    package="unsloth",
)

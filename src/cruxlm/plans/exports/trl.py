"""TRL: its trainers take a ``peft_config``, or a model that is frozen already."""

from cruxlm.plans.exports.peft import NO_DROP, adapter_notes, config_source
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.plans.exports.transformers import FILE, source
from cruxlm.results.export import Export


def _write(made: Planned) -> Export:
    if made.plan.action == "lora":
        return Export(
            target="trl",
            action="lora",
            file="peft_config.py",
            text=config_source(made),
            use="from peft_config import peft_config; "
            "SFTTrainer(model=model, peft_config=peft_config, ...)",
            notes=adapter_notes(made),
        )
    return Export(
        target="trl",
        action=made.plan.action,
        file=FILE,
        text=source(made),
        use="from crux_plan import PlanCheck, freeze; "
        "SFTTrainer(model=freeze(model), callbacks=[PlanCheck()], ...)",
        notes=("give the trainer the model itself: one that it loads by name is not frozen",),
    )


TRL = Target(
    name="trl",
    title="TRL: SFTTrainer and its kin",
    write=_write,
    refusals={"drop": NO_DROP},
    package="trl",
)

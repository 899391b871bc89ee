"""Ms-swift: a settings file for ``swift sft``.

Its ``freeze_parameters`` are beginnings of names (``model.layers.1`` is one in block 10 too), and
where none fits nothing is frozen, without an error. So everything is frozen by the ratio, and what
is planned is let go again by an expression that is anchored at both ends. Adapters get names in
full: an expression (``target_regex``) is one that peft reduces to the last parts of the names that
it fits, in mixtures whose experts transformers 5 fuses, and every block is adapted.
"""

import os
from typing import Any

from cruxlm.plans.exports.peft import NO_DROP, adapter_notes
from cruxlm.plans.exports.regex import pattern
from cruxlm.plans.exports.settings import check_writes_text, file, full_names, one_rank, source
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export


def write(made: Planned) -> Export:
    """The arguments for a plan, to which a user adds data and training."""
    check_writes_text(made, "ms-swift")
    found = source(made)
    settings: dict[str, Any] = {"model": found.name}
    if not os.path.isdir(found.name):  # it would look for a name on another hub
        settings["use_hf"] = True
    if found.revision:
        settings["model_revision"] = found.revision
    settings |= _adapters(made) if made.plan.action == "lora" else _freed(made)
    return Export(
        target="ms-swift",
        action=made.plan.action,
        file="ms-swift.yml",
        text=file(made, settings, "for ms-swift 4"),
        use="swift sft ms-swift.yml --dataset DATA --output_dir TRAINED",
        notes=(*found.notes, *adapter_notes(made)),
    )


def _adapters(made: Planned) -> dict[str, Any]:
    rank, alpha = one_rank(made, "ms-swift")
    modules, saved = full_names(made, "ms-swift")
    return {
        "tuner_type": "lora",
        "lora_rank": rank,
        "lora_alpha": alpha,
        "target_modules": modules,
        **({"modules_to_save": saved} if saved else {}),
    }


def _freed(made: Planned) -> dict[str, Any]:
    return {
        "tuner_type": "full",
        "freeze_parameters_ratio": 1.0,
        "trainable_parameters_regex": pattern(made, made.trained, made.parts.sizes),
    }


MS_SWIFT = Target(
    name="ms-swift",
    title="ms-swift: a settings file for swift sft",
    write=write,
    refusals={"drop": NO_DROP},
    package="ms-swift",
)

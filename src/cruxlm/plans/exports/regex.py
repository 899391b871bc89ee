"""A regular expression over names, for every tool that takes one: anchored, and exact."""

import re
from collections.abc import Collection, Iterable

from cruxlm.plans.exports.peft import NO_DROP, adapter_notes, made_maps
from cruxlm.plans.exports.python import grouped
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.plans.lora import reached
from cruxlm.results.export import Export
from cruxlm.runtime.errors import OptionError


def pattern(made: Planned, wanted: Collection[str], every: Collection[str]) -> str:
    """An expression that matches (``re.fullmatch``) just the wanted of all names.

    It has groups, ``|``, ``.+`` and escapes only, which all dialects of expressions know.
    """
    groups, beside = grouped(made, wanted)
    path = re.escape(made.model.blocks.path)
    whole: list[str] = []
    named: list[str] = []
    for within, blocks in groups.items():
        at = rf"{path}\.{_either(map(str, blocks))}\."
        whole.append(f"{at}.+")
        named.append(at + _either(map(re.escape, within)))
    rest = [re.escape(name) for name in beside]
    for chosen in (whole, named):
        found = f"^{_either([*chosen, *rest])}$"
        if {name for name in every if re.fullmatch(found, name)} == set(wanted):
            return found
    raise OptionError("no expression tells these names from all others: export to transformers")


def _either(patterns: Iterable[str]) -> str:
    held = list(patterns)
    return held[0] if len(held) == 1 else f"({'|'.join(held)})"


def _write(made: Planned) -> Export:
    module = made.model.module
    if made.plan.action != "lora":
        found = pattern(made, made.trained, made.parts.sizes)
        return Export(
            target="regex",
            action=made.plan.action,
            file="parameters.regex",
            text=found + "\n",
            use="the parameters to train: "
            "[name for name, _ in model.named_parameters() if re.fullmatch(pattern, name)]",
        )
    if made.plan.parts:
        raise OptionError(
            f"one expression over modules does not say {', '.join(made.plan.parts)} as well: plan "
            "without, or export to peft"
        )
    found = pattern(made, made_maps(made), [name for name, _ in module.named_modules()])
    ranks = dict(zip(made.plan.blocks, made.plan.ranks or (), strict=True))
    notes = [f"ranks are not in it: {', '.join(f'{b}: {r}' for b, r in ranks.items())}"]
    if len(set(ranks.values())) == 1:
        notes = [f"the rank is not in it: {made.plan.ranks and made.plan.ranks[0]}"]
    if not _peft_agrees(made, found):
        notes.append("as target_modules of peft it reaches other modules: export to peft")
    return Export(
        target="regex",
        action="lora",
        file="modules.regex",
        text=found + "\n",
        use="the modules to adapt: "
        "[name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]",
        notes=(*notes, *adapter_notes(made)),
    )


def _peft_agrees(made: Planned, found: str) -> bool:
    """Whether peft reaches the same modules with it; not for every mixture of experts."""
    from peft import LoraConfig

    return reached(LoraConfig(target_modules=found), made.model.module) == made_maps(made)


REGEX = Target(
    name="regex",
    title="one regular expression over names",
    write=_write,
    refusals={"drop": NO_DROP},
)

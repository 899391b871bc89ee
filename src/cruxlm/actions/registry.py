"""The actions by name; each is imported when it is first asked for."""

from typing import TYPE_CHECKING

from cruxlm.runtime.registry import Registry

if TYPE_CHECKING:
    from cruxlm.actions.descriptor import Action

ACTIONS: "Registry[Action]" = Registry(
    kind="action",
    builtin={
        "full": "cruxlm.actions.descriptor:FULL",
        "freeze": "cruxlm.actions.descriptor:FREEZE",
        "lora": "cruxlm.actions.descriptor:LORA",
        "lisa": "cruxlm.actions.descriptor:LISA",
        "drop": "cruxlm.actions.descriptor:DROP",
        "suppress": "cruxlm.actions.descriptor:SUPPRESS",
        "repair": "cruxlm.actions.descriptor:REPAIR",
        "consistency": "cruxlm.actions.descriptor:CONSISTENCY",
    },
    aliases={"train": "full", "crow": "consistency"},
    group="cruxlm.actions",
)

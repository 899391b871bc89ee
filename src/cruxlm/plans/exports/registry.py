"""The tools by name; each file is imported when it is first asked for.

A package adds one through the entry-point group ``cruxlm.exports``:
``name = "package.module:TARGET"``.
"""

from typing import TYPE_CHECKING

from cruxlm.runtime.registry import Registry

if TYPE_CHECKING:
    from cruxlm.plans.exports.target import Target

_HERE = "cruxlm.plans.exports"
TARGETS: "Registry[Target]" = Registry(
    kind="export target",
    builtin={
        "peft": f"{_HERE}.peft:PEFT",
        "transformers": f"{_HERE}.transformers:TRANSFORMERS",
        "trl": f"{_HERE}.trl:TRL",
        "axolotl": f"{_HERE}.axolotl:AXOLOTL",
        "llama-factory": f"{_HERE}.llama_factory:LLAMA_FACTORY",
        "ms-swift": f"{_HERE}.ms_swift:MS_SWIFT",
        "unsloth": f"{_HERE}.unsloth:UNSLOTH",
        "regex": f"{_HERE}.regex:REGEX",
        "mergekit": f"{_HERE}.mergekit:MERGEKIT",
        "lm-eval": f"{_HERE}.lm_eval:LM_EVAL",
    },
    aliases={"swift": "ms-swift", "llamafactory": "llama-factory", "lm_eval": "lm-eval"},
    group="cruxlm.exports",
)

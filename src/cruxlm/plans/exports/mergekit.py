"""Mergekit: a model without the dropped blocks, written from disk to disk."""

import copy
from typing import Any

from cruxlm.models.locate import text_config
from cruxlm.models.shorter_config import DEPTHS, shorten
from cruxlm.plans.exports.settings import file, source
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export
from cruxlm.results.plan import listed
from cruxlm.runtime.errors import ModelError, OptionError

NEAREST = "use `crux drop`, which checks what it saves"
WRITTEN = frozenset(
    {
        "GPT2LMHeadModel",
        "GemmaForCausalLM",
        "Glm4ForCausalLM",
        "GraniteForCausalLM",
        "LlamaForCausalLM",
        "MambaForCausalLM",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "Olmo2ForCausalLM",
        "Phi3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "StableLmForCausalLM",
        "Starcoder2ForCausalLM",
    }
)
"""Models that mergekit 0.1.5 was seen to shorten right (the tests do it with each). For a class of
which it has no description (OPT, DeepSeek), it leaves the depth in the configuration as it was: the
dropped blocks come back with random weights, without a word."""


def kept_ranges(made: Planned) -> list[tuple[int, int]]:
    """The blocks that are kept, as ranges without their ends."""
    ranges: list[tuple[int, int]] = []
    for block in range(len(made.plan.names)):
        if block in made.plan.blocks:
            continue
        if ranges and ranges[-1][1] == block:
            ranges[-1] = (ranges[-1][0], block + 1)
        else:
            ranges.append((block, block + 1))
    return ranges


def write(made: Planned) -> Export:
    """A passthrough merge of the kept blocks."""
    ranges = kept_ranges(made)
    if not ranges:
        raise OptionError("mergekit cannot drop every block: keep one at least")
    _check_model(made)
    found = source(made)
    model: Any = f"{found.name}@{found.revision}" if found.revision else found.name
    if "@" in found.name or "+" in found.name:
        # In a plain name it reads `@` as a revision and `+` as an adapter.
        held = {"path": found.name, "revision": found.revision}
        model = {"model": {key: value for key, value in held.items() if value}}
    # A copy for each: what stands in YAML twice is written as a reference.
    slices = [
        {"sources": [{"model": copy.deepcopy(model), "layer_range": [*kept]}]} for kept in ranges
    ]
    left = len(made.plan.names) - len(made.plan.blocks)
    settings = {"merge_method": "passthrough", "slices": slices}
    return Export(
        target="mergekit",
        action=made.plan.action,
        file="mergekit.yml",
        text=file(made, settings, f"{left} blocks are left, numbered anew from 0"),
        use="mergekit-yaml mergekit.yml SMALLER",
        notes=(
            *found.notes,
            "`crux drop` does the same, compares what it saved with the model without those "
            "blocks, and knows more architectures",
        ),
    )


def _check_model(made: Planned) -> None:
    """Refuse a model whose configuration mergekit would leave as it was."""
    kind = type(made.model.module).__name__
    if kind not in WRITTEN:
        raise OptionError(f"mergekit is not known to write a shorter {kind} right: {NEAREST}")
    config = copy.deepcopy(text_config(made.model.module))
    before = copy.deepcopy(vars(config))
    kept = [block for block in range(len(made.plan.names)) if block not in made.plan.blocks]
    try:
        shorten(config, kept, len(made.plan.names))
    except ModelError as error:
        raise OptionError(f"mergekit cannot drop {listed(made.plan.blocks)}: {error}") from error
    left = [name for name in before if name not in DEPTHS and before[name] != vars(config)[name]]
    if left:
        raise OptionError(
            f"mergekit leaves {', '.join(sorted(left))} of the configuration as they are for "
            f"{len(made.plan.names)} blocks: {NEAREST}"
        )


MERGEKIT = Target(
    name="mergekit",
    title="mergekit: a model without the dropped blocks, from disk to disk",
    write=write,
    refusals=dict.fromkeys(
        ("train", "freeze", "lora"),
        "it puts models together and trains none; the nearest is a plan to drop blocks",
    ),
    package="mergekit",
)

"""How much memory a training step takes, estimated from the model's shape and the plan.

The peak is where the forward pass has ended and the backward pass begins. There the model holds

- its weights, and gradients and AdamW's two moments in float32 for what is trained;
- what the backward pass will read, from the lowest trained block up (``activations``);
- the logits in float32, four times: as they are, after the softmax, and the gradients of both. With
  a large vocabulary this is often more than everything else.

Left out is what comes and goes (buffers of the computation), dropout's masks, and what gradient
checkpointing would save of the activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.models.parts import Parts, parts_of
from cruxlm.plans.activations import FLOAT32, sides, token_bytes
from cruxlm.plans.apply import planned_names
from cruxlm.plans.budget import MemoryOf, readable
from cruxlm.plans.grammar import Chosen
from cruxlm.plans.lora import lora_targets
from cruxlm.plans.make import make_plan
from cruxlm.results.plan import Plan
from cruxlm.runtime.errors import OptionError

LOGITS = 4
"""Numbers that the peak holds for each logit; one of them is kept for the backward pass."""


@dataclass(frozen=True)
class Memory:
    """Estimated bytes at the peak of a training step."""

    weights: int
    """The model's weights, and those of adapters."""
    gradients: int
    """Gradients of what is trained."""
    optimizer: int
    """AdamW's two moments."""
    activations: int
    """What the backward pass reads, from the lowest trained block to the head."""
    logits: int
    """The logits, their softmax and the gradients of both."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(vars(self).values())

    def __str__(self) -> str:
        """``1.23 GiB: weights 512.0 MiB, ...``."""
        held = (f"{name} {readable(size)}" for name, size in vars(self).items())
        return f"{readable(self.total)}: {', '.join(held)}"


def training_memory(
    plan: Plan,
    model: LoadedModel,
    *,
    batch: int,
    tokens: int,
    modules: Sequence[str] | None = None,
    parts: Parts | None = None,
) -> Memory:
    """Estimate the memory of one step of a plan to train, freeze or lora.

    Args:
        plan: The plan.
        model: Its model.
        batch: Rows in one forward pass.
        tokens: Tokens of a row, with padding.
        modules: For lora, the maps that are adapted, as for ``lora_config``.
        parts: The model's parts, where they are known already.

    Raises:
        OptionError: When the plan drops blocks, is for another model or trains nothing.
    """
    if plan.action == "drop":
        raise OptionError("a plan to drop blocks trains nothing")
    plan.check(model.ref)
    parts = parts or parts_of(model)
    lora = plan.action == "lora"
    own = parts.count(tuple(planned_names(plan, parts)))
    adapted = lora_targets(plan, model, modules).maps if lora else {}
    ranks = {
        name: rank
        for rank, names in zip(plan.ranks or (), adapted.values(), strict=True)
        for name in names
    }
    adapters = sum(
        rank * sum(sides(model.module.get_submodule(name))) for name, rank in ranks.items()
    )
    size = next(model.blocks.modules[0].parameters()).element_size()
    everything = sum(p.numel() * p.element_size() for p in model.module.parameters())
    lowest = 0 if "embeddings" in plan.parts else min(plan.trained, default=len(plan.names))
    blocks = sum(
        token_bytes(
            model,
            block,
            tokens=tokens,
            trained=block in plan.trained and not lora,
            adapted=adapted.get(block, ()),
        )
        for block in range(lowest, len(plan.names))
    )
    config = text_config(model.module)
    after = (1 + ("norm" in plan.parts) + ("head" in plan.parts)) * config.hidden_size * size
    vocabulary = config.vocab_size if parts.head or parts.tied else 0
    return Memory(
        # Peft holds adapters in float32, and trains a copy of a whole module.
        weights=everything + adapters * FLOAT32 + (own * size if lora else 0),
        gradients=own * size + adapters * FLOAT32,
        optimizer=2 * (own + adapters) * FLOAT32,
        activations=round(batch * tokens * (blocks + after + sum(ranks.values()) * FLOAT32)),
        logits=LOGITS * batch * tokens * vocabulary * FLOAT32,
    )


def memory_of(
    model: LoadedModel,
    action: str,
    *,
    batch: int,
    tokens: int,
    modules: Sequence[str] | None = None,
    **options: Any,
) -> MemoryOf:
    """A function from blocks to bytes, for a memory budget in the block grammar.

    ``options`` are those of ``make_plan``.
    """
    parts = parts_of(model)

    def needed(blocks: Sequence[int]) -> int:
        chosen = Chosen(tuple(blocks), ("",) * len(blocks), "", tuple(blocks))
        plan = make_plan(action, chosen, model, **options)
        return training_memory(
            plan, model, batch=batch, tokens=tokens, modules=modules, parts=parts
        ).total

    return needed

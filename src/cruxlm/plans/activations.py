r"""What a token leaves in a block for the backward pass, from the block's shape.

With the width :math:`d`, queries of width :math:`q`, keys and values of width :math:`kv`, inner
width :math:`f` of the feed-forward half, :math:`N` norms, :math:`H` heads and :math:`T` tokens in a
row, these many numbers:

===================================  =========================================================
inputs of norms                      :math:`N d`: the residual stream, wherever it is read
outputs of linear maps               :math:`q + 2 kv`, and :math:`f` or, gated, :math:`2 f`; not
                                     those that are added to the residual stream
attention, flash                     :math:`q`, its output
attention, sdpa                      the same, and as rows of a batch are padded :math:`T` for the
                                     mask and :math:`2 (q - kv)` for repeated keys and values
attention, eager                     :math:`2 (q - kv)`, and :math:`H T` scores in float32 (in half
                                     precision once more in that)
feed-forward                         :math:`f` where it is gated; :math:`3 f` for a GELU that is
                                     computed in steps (GPT-2)
in a block that is trained           the inputs of its linear maps, :math:`2 d + f` (and
                                     :math:`q` where attention is eager); :math:`N d` for norms
                                     that are computed in steps (RMSNorm)
in a block with adapters             the inputs of the adapted maps, in float32
===================================  =========================================================

A norm that is computed in steps reads its input in float32. Of a mixture's experts a token leaves
traces in those that it is sent to. Dropout's masks are not counted, nor the states of a recurrent
block (Mamba).
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.activations import FastGELUActivation, NewGELUActivation

from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.plans.lora import is_linear

FLOAT32 = 4
"""Bytes of a number in float32."""


@dataclass(frozen=True)
class _Map:
    """A linear map of a block, or one of its matrices of fused experts."""

    name: str
    """Its name in the block."""
    read: int
    """Width of its input."""
    write: int
    """Width of its output."""
    share: float = 1.0
    """How often a token passes it."""


def token_bytes(
    model: LoadedModel, block: int, *, tokens: int, trained: bool, adapted: Collection[str] = ()
) -> float:
    """Bytes that one token leaves in a block for the backward pass.

    Args:
        model: The model.
        block: The block.
        tokens: Tokens in a row.
        trained: Whether the block's own weights are trained.
        adapted: Full names of the linear maps that have adapters.
    """
    module, config = model.blocks.modules[block], text_config(model.module)
    size = next(module.parameters()).element_size()
    width, heads = int(config.hidden_size), int(getattr(config, "num_attention_heads", None) or 1)
    head = int(getattr(config, "head_dim", None) or width // heads)
    q, kv = heads * head, int(getattr(config, "num_key_value_heads", None) or heads) * head
    eager = model.attention == "eager"
    flash = (model.attention or "").startswith("flash")

    maps = list(_maps(module, config))
    down = [held for held in maps if held.write == width and held.read not in (width, q)]
    inner = sum(held.share * held.read for held in down)
    # Less what the attention adds to the residual stream.
    outputs = sum(held.share * held.write for held in maps if held not in down) - width
    gated = outputs - q - 2 * kv > 1.5 * inner

    norms = [part for part in module.modules() if _norm_width(part)]
    in_steps = not all(isinstance(part, (nn.LayerNorm, nn.RMSNorm)) for part in norms)
    normed = width * (sum(_norm_width(part) == width for part in norms) or 2)
    if any(_norm_width(part) == head != width for part in norms):
        normed += q + kv  # queries and keys have norms of their own

    path = model.blocks.names[block]
    changed = [held for held in maps if trained or f"{path}.{held.name}" in adapted]
    # Maps side by side read one input; what the output of attention enters is counted with it.
    inputs = {(_parent(held), held.read): held.share * held.read for held in changed}
    # A ReLU keeps its output alone, which is counted with the outputs.
    apart = set() if _has(module, nn.ReLU) else {held.read for held in down}
    read = sum(numbers for (_, own), numbers in inputs.items() if own in {width, *apart})

    kept = outputs + inner * (gated + 3 * _has(module, NewGELUActivation, FastGELUActivation))
    kept += 0 if eager and not changed else q  # else only what reads the output keeps it
    kept += 0 if flash else 2 * (q - kv)
    kept += 0 if flash or eager else tokens
    kept += normed if trained and in_steps else 0
    scores = heads * tokens * (FLOAT32 + (size if size < FLOAT32 else 0)) if eager else 0
    return (
        kept * size
        + normed * (FLOAT32 if in_steps else size)
        + read * (size if trained else FLOAT32)
        + scores
    )


def _maps(module: nn.Module, config: Any) -> Iterator[_Map]:
    """The linear maps of a block; a matrix of fused experts counts as one that tokens pass."""
    width = int(config.hidden_size)
    chosen = int(getattr(config, "num_experts_per_tok", None) or 0)
    for name, part in module.named_modules():
        if not is_linear(part):
            continue
        read, write = sides(part)
        # Experts that are not fused lie in a list.
        group = re.match(r"(.*)\.\d+\.", name) if chosen else None
        experts = len(list(module.get_submodule(group[1]).children())) if group else 1
        yield _Map(name, read, write, min(1.0, chosen / experts) if group else 1.0)
    held = module.named_parameters()
    fused = [(name, p) for name, p in held if p.dim() == 3 and width in p.shape[1:]]
    fused.sort(key=lambda pair: -pair[1].numel())  # the way in is as large as the way out or larger
    for place, (name, parameter) in enumerate(fused):
        side = parameter.numel() // (len(parameter) * width)
        yield _Map(name, *((width, side) if place == 0 else (side, width)), float(chosen or 1))


def sides(module: nn.Module) -> tuple[int, int]:
    """Width of the input and of the output of a linear map."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    write, read = weight.shape if isinstance(module, nn.Linear) else weight.shape[::-1]
    return read, write


def _parent(held: _Map) -> str:
    return held.name.rpartition(".")[0]


def _norm_width(module: nn.Module) -> int:
    """Width of a norm; 0 for what is none."""
    own = list(module.parameters(recurse=False))
    return own[0].numel() if own and all(parameter.dim() == 1 for parameter in own) else 0


def _has(module: nn.Module, *kinds: type) -> bool:
    return any(isinstance(part, kinds) for part in module.modules())

"""Run prompts through a model and keep one pooled state a block, and nothing else.

Pooling happens inside the hook: during a forward pass a scan adds layers x batch x width floats,
the model's own activations are freed as they would be without it, and the pass ends after the last
block, before norm and head.
"""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cruxlm.models.batches import Batch
from cruxlm.models.locate import BlockStack, input_embedding
from cruxlm.models.patch import Patch, StopForwardError, evaluation_mode
from cruxlm.runtime.errors import ModelError
from cruxlm.runtime.progress import Tick

Receiver = Callable[[Batch, Float[Tensor, "layers samples width"]], None]
"""Is handed each batch with its states; the states are overwritten when it returns."""

Pool = Callable[[Batch, Float[Tensor, "batch tokens width"]], Float[Tensor, "samples width"]]
"""Makes of a block's states, in float32, those that are kept."""


def capture(
    stack: BlockStack,
    batches: Iterable[Batch],
    receive: Receiver,
    tick: Tick = lambda _done: None,
    pool: Pool | None = None,
) -> None:
    """Hand ``receive`` each batch's pooled float32 states, layer by layer.

    Layer 0 is what enters block 0, layer l + 1 what leaves block l (before the final norm). Samples
    follow the batch's own order, unless ``pool``, which takes the place of the batch's own pooling,
    gives them another. Raises ``ModelError`` for a
    state that is not finite, naming the block.
    """
    collected = _Collected(stack, pool)

    def watch_last(states: Tensor) -> None:
        collected.add(len(stack.modules), states)
        raise StopForwardError

    with Patch() as patch, evaluation_mode(stack.tower), torch.no_grad():
        patch.watch_input(stack.modules[0], partial(collected.add, 0))
        for layer, block in enumerate(stack.modules[:-1], start=1):
            patch.watch_output(block, partial(collected.add, layer))
        patch.watch_output(stack.modules[-1], watch_last)
        for batch in batches:
            collected.begin(batch)
            try:
                stack.tower(**tower_inputs(batch, stack.tower))
            except StopForwardError:
                pass
            else:
                raise ModelError(f"the last block {stack.names[-1]} was never run")
            receive(batch, collected.states())
            tick(len(batch.prompts))


class _Collected:
    """The pooled states of one batch, written into one buffer as they come by."""

    def __init__(self, stack: BlockStack, pool: Pool | None) -> None:
        self.stack, self.pool = stack, pool
        self.layers = len(stack.modules) + 1
        self.buffer: Tensor | None = None

    def begin(self, batch: Batch) -> None:
        """Start a batch; the buffer of the last one is used again when it fits."""
        self.batch = batch
        self.due = 0

    def add(self, layer: int, states: Tensor) -> None:
        """Pool what enters the first block (layer 0) or leaves block ``layer - 1``."""
        if layer != self.due:
            raise ModelError(
                f"the blocks of {self.stack.path} are not run once each in turn "
                f"(block {max(self.due - 1, 0)} was due): not supported"
            )
        if states.dim() != 3 or states.shape[:2] != self.batch.tokens.shape:
            raise ModelError(
                f"block {max(layer - 1, 0)} of {self.stack.path} passes states of shape "
                f"{tuple(states.shape)}, not (batch, tokens, width): not supported"
            )
        batch = self.batch
        pooled = batch.pool(states) if self.pool is None else self.pool(batch, states)
        if self.buffer is None or self.buffer.shape[1:] != pooled.shape:
            self.buffer = None  # first free the old one
            self.buffer = pooled.new_empty((self.layers, *pooled.shape))
        self.buffer[layer] = pooled  # across devices too, when a model is split
        self.due += 1

    def states(self) -> Float[Tensor, "layers samples width"]:
        """All layers on the CPU; ``ModelError`` for one that is not finite."""
        assert self.buffer is not None  # the last block was run, and in its turn
        states = self.buffer.cpu()
        for layer, values in enumerate(states):
            if not bool(torch.isfinite(values).all()):
                name = self.stack.names[layer - 1]
                where = "the embeddings" if layer == 0 else f"block {layer - 1} ({name})"
                raise ModelError(f"{where} give states that are not finite: try --dtype float32")
        return states


def tower_inputs(batch: Batch, tower: nn.Module) -> dict[str, Any]:
    """What a tower is called with to read a batch, as far as it takes it, on its own device."""
    accepted = inspect.signature(tower.forward).parameters
    device = _input_device(tower)
    given: dict[str, Any] = {
        "input_ids": batch.tokens.to(device),
        # As a tokenizer gives it: some models subtract it from one, which a bool refuses.
        "attention_mask": batch.mask.long().to(device),
    }
    # RoBERTa's kin number positions from their padding token themselves, on either side.
    positions = batch.positions
    if positions is not None and "position_ids" in accepted and not _numbers_positions(tower):
        given["position_ids"] = positions.to(device)
    if "use_cache" in accepted:
        given["use_cache"] = False
    open_ended = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    return {name: value for name, value in given.items() if name in accepted or open_ended}


def _numbers_positions(tower: nn.Module) -> bool:
    ways = ("create_position_ids_from_input_ids", "create_position_ids_from_inputs_embeds")
    return any(hasattr(module, way) for module in tower.modules() for way in ways)


def _input_device(tower: nn.Module) -> torch.device:
    embedding = input_embedding(tower)
    holder = tower if embedding is None else embedding
    return next(
        (p.device for p in holder.parameters() if p.device.type != "meta"), torch.device("cpu")
    )

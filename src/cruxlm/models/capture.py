"""Run prompts through a model and keep one pooled state a block, and nothing else.

Pooling happens inside the hook: during a forward pass a scan adds layers x batch x width floats, the
model's own activations are freed as they would be without it, and the pass ends after the last
block, before norm and head.
"""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cruxlm.models.batches import Batch
from cruxlm.models.locate import BlockStack
from cruxlm.models.patch import Patch, StopForwardError, evaluation_mode
from cruxlm.runtime.errors import ModelError
from cruxlm.runtime.progress import Tick


def capture(
    stack: BlockStack, batches: Iterable[Batch], tick: Tick = lambda _done: None
) -> Iterator[tuple[Batch, Float[Tensor, "layers samples width"]]]:
    """For each batch, the pooled float32 states: the first block's input, then each block's output.

    Layer 0 is what enters block 0, layer l + 1 what leaves block l (before the final norm). Samples
    follow the batch's own order. Raises ``ModelError`` for a state that is not finite, naming the block.
    """
    accepted = inspect.signature(stack.tower.forward).parameters
    device = _input_device(stack.tower)
    pooled: list[Tensor] = []
    current: list[Batch] = []

    def watch(states: Tensor) -> None:
        if states.dim() != 3 or states.shape[:2] != current[0].tokens.shape:
            raise ModelError(
                f"block {max(len(pooled) - 1, 0)} of {stack.path} passes states of shape "
                f"{tuple(states.shape)}, not (batch, tokens, width): not supported"
            )
        pooled.append(current[0].pool(states))

    def watch_last(states: Tensor) -> None:
        watch(states)
        raise StopForwardError

    with Patch() as patch, evaluation_mode(stack.tower), torch.no_grad():
        patch.watch_input(stack.modules[0], watch)
        for block in stack.modules[:-1]:
            patch.watch_output(block, watch)
        patch.watch_output(stack.modules[-1], watch_last)
        for batch in batches:
            pooled.clear()
            current[:] = [batch]
            try:
                stack.tower(**_arguments(batch, accepted, stack.tower, device))
            except StopForwardError:
                pass
            else:
                raise ModelError(f"the last block {stack.names[-1]} was never run")
            if len(pooled) != len(stack.modules) + 1:
                raise ModelError(
                    f"{len(pooled) - 1} of {len(stack.modules)} blocks of {stack.path} were run once"
                )
            states = torch.stack([state.to(pooled[-1].device) for state in pooled]).cpu()
            _check_finite(states, stack)
            yield batch, states
            tick(len(batch.prompts))


def _arguments(
    batch: Batch, accepted: Any, tower: nn.Module, device: torch.device
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "input_ids": batch.tokens.to(device),
        "attention_mask": batch.mask.to(device),
    }
    # RoBERTa's kin number positions from their padding index and do it themselves.
    if "position_ids" in accepted and not _numbers_positions(tower):
        given["position_ids"] = (batch.mask.cumsum(1) - 1).clamp_min(0).to(device)
    if "use_cache" in accepted:
        given["use_cache"] = False
    open_ended = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    return {name: value for name, value in given.items() if name in accepted or open_ended}


def _numbers_positions(tower: nn.Module) -> bool:
    return any(hasattr(m, "create_position_ids_from_input_ids") for m in tower.modules())


def _input_device(tower: nn.Module) -> torch.device:
    embedding: Any = getattr(tower, "get_input_embeddings", lambda: None)()
    holder = embedding if isinstance(embedding, nn.Module) else tower
    return next(
        (p.device for p in holder.parameters() if p.device.type != "meta"), torch.device("cpu")
    )


def _check_finite(states: Float[Tensor, "layers samples width"], stack: BlockStack) -> None:
    finite = torch.isfinite(states).flatten(1).all(dim=1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        where = "the embeddings" if first == 0 else f"block {first - 1} ({stack.names[first - 1]})"
        raise ModelError(f"{where} give states that are not finite: try --dtype float32")

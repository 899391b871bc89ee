"""What makes training random in the part of a model that comes before a block."""

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from cruxlm.models.alike import equal
from cruxlm.models.batches import Batch
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import BlockStack
from cruxlm.models.patch import Patch, StopForwardError, evaluation_mode, training_mode
from cruxlm.models.prefix import two_rows

WORDS = ("drop", "jitter")
"""In the names of what is random: dropout, layer drop, the jitter of a router."""
DRAWS = 3
"""How often states are drawn."""


def random_below(model: LoadedModel, block: int) -> tuple[str, ...]:
    """What makes the states that a block reads random in training: dropout and its kin.

    Paths of modules and of their attributes; empty where training and evaluation give the same
    states. Of what belongs to no block all counts, also a dropout that comes after them. As a
    module may read its dropout elsewhere (ProphetNet, in its configuration), the states of two
    short rows are drawn too, in training mode; the global random state is as it was afterwards.
    """
    return tuple(_named(model, block)) or _drawn(model.blocks, block)


def _named(model: LoadedModel, block: int) -> Iterator[str]:
    above = {id(part) for module in model.blocks.modules[block:] for part in module.modules()}
    below = {id(part) for part in model.blocks.tower.modules()} - above
    for path, part in model.module.named_modules():
        if id(part) not in below:
            continue
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p:
            yield path
        for name, value in vars(part).items():
            if isinstance(value, float) and value and any(word in name for word in WORDS):
                yield f"{path}.{name}"


def _drawn(stack: BlockStack, block: int) -> tuple[str, ...]:
    rows = two_rows()
    devices = {p.device for p in stack.tower.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)):
        with evaluation_mode(stack.tower):
            calm = _states(stack, block, rows)
        with training_mode(stack.tower):
            for seed in range(DRAWS):
                torch.manual_seed(seed)
                states = _states(stack, block, rows)
                if len(states) != len(calm) or not all(map(equal, states, calm)):
                    return (f"what comes before {stack.names[block]}",)
    return ()


def _states(stack: BlockStack, block: int, rows: Batch) -> list[Tensor]:
    """What enters a block in the mode that the tower is in; nothing when it is left out."""
    seen: list[Tensor] = []

    def see(states: Tensor) -> None:
        seen.append(states)
        raise StopForwardError

    with Patch() as patch, torch.no_grad(), suppress(StopForwardError):
        patch.watch_input(stack.modules[block], see)
        stack.tower(**tower_inputs(rows, stack.tower))
    return seen

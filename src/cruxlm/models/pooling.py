"""Ways to make one state of a prompt's tokens, several of them in one pass."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cruxlm.models.batches import Batch
from cruxlm.models.capture import Pool

States = Float[Tensor, "batch tokens width"]
Read = Bool[Tensor, "batch tokens"]
"""Which tokens of a prompt are read."""


def _last(states: States, read: Read) -> Float[Tensor, "batch width"]:
    places = torch.arange(read.shape[1], device=read.device)
    return _at(states, (read * places).argmax(dim=1))


def _first(states: States, read: Read) -> Float[Tensor, "batch width"]:
    return _at(states, read.float().argmax(dim=1))


def _mean(states: States, read: Read) -> Float[Tensor, "batch width"]:
    weights = read / read.sum(dim=1, keepdim=True)
    return torch.bmm(weights[:, None], states.float())[:, 0]


def _largest(states: States, read: Read) -> Float[Tensor, "batch width"]:
    return states.float().masked_fill(~read[:, :, None], -torch.inf).amax(dim=1)


def _at(states: States, columns: Tensor) -> Float[Tensor, "batch width"]:
    return states[torch.arange(len(states), device=states.device), columns].float()


POOLINGS: dict[str, Callable[[States, Read], Float[Tensor, "batch width"]]] = {
    "last": _last,
    "mean": _mean,
    "max": _largest,
    "cls": _first,
}
"""The last token; the mean over tokens; the largest value of each dimension; the first token."""


def pooled_in(names: Sequence[str], ends: Sequence[int]) -> Pool:
    """What pools states in several ways at once, and keeps those at one place of each prompt.

    Of a batch whose samples are all places that are read (pooling ``all``), the states come way by
    way: those of all prompts in the first, then those in the next, last those at ``ends``, which
    has a place of each prompt, counted from its first token. Prompts are padded on the right.
    """
    return partial(_pooled, tuple(names), tuple(ends))


def _pooled(
    names: tuple[str, ...], ends: tuple[int, ...], batch: Batch, states: States
) -> Float[Tensor, "samples width"]:
    read = torch.zeros_like(batch.mask)
    read[batch.rows, batch.columns] = True
    read, mask = read.to(states.device), batch.mask.to(states.device)
    # The first token is the one that no text moves, in models that read from left to right; in the
    # others it is a token of their own, which is left out of no mean but is what "cls" asks for.
    parts = [POOLINGS[name](states, mask if name == "cls" else read) for name in names]
    at = torch.tensor([ends[prompt] for prompt in batch.prompts], device=states.device)
    return torch.cat([*parts, _at(states, at)])

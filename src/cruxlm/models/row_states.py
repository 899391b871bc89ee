"""The states of many rows before one block: computed once, read from disk as often as wanted."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.models.alike import alike, tensors
from cruxlm.models.batches import Batch, PaddingSide, batches
from cruxlm.models.capture import tower_inputs
from cruxlm.models.fingerprint import fingerprint
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import evaluation_mode
from cruxlm.models.prefix import Prefix
from cruxlm.runtime.cache import Arrays, Cache
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.runtime.progress import Tick

Tokens = Sequence[Sequence[int]]
"""Rows as token ids, without padding."""


class RowStates(Sequence[Tensor]):
    """The states of each row, in the rows' order; each is read when it is asked for."""

    def __init__(self, held: np.ndarray, lengths: Sequence[int], dtype: torch.dtype) -> None:
        """Cut what is held, of shape (tokens, width), into rows: the longest come first."""
        order = _longest_first(lengths)
        ends = np.cumsum([lengths[index] for index in order]).tolist()
        self._ends = dict(zip(order, ends, strict=True))
        self._held, self._lengths, self._dtype = held, lengths, dtype

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        """The states of a row, of shape (tokens, width), in memory of their own."""
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        end = self._ends[place]
        row = torch.from_numpy(np.array(self._held[end - self._lengths[place] : end]))
        return row.view(self._dtype)


def pad_states(
    rows: Sequence[Tensor], tokens: int, side: PaddingSide = "right"
) -> Float[Tensor, "batch tokens width"]:
    """The states of rows as a batch of so many tokens, with zeros where the mask is."""
    batch = rows[0].new_zeros((len(rows), tokens, rows[0].shape[-1]))
    for place, row in zip(batch, rows, strict=True):
        place[slice(len(row)) if side == "right" else slice(tokens - len(row), tokens)] = row
    return batch


def cached_states(
    model: LoadedModel,
    rows: Tokens,
    block: int,
    *,
    batch_size: int,
    cache: Cache | None = None,
    tick: Tick = lambda _done: None,
) -> RowStates:
    """The states that a block reads, of every token of every row, from the cache or to it.

    Computed in evaluation mode, under the autocast that is on; the caller sees to it that nothing
    below the block is trained or random (`random_below`). An entry is found again by every byte of
    the weights that come into it, the configuration, the tokens, the precision and the versions of
    the libraries, and is used when it agrees with a few rows that are computed anew each time.

    Args:
        model: The model.
        rows: Token ids of each row.
        block: The block; see `Prefix`.
        batch_size: Rows computed at once.
        cache: Where they are kept; by default the user's cache.
        tick: Called with the number of rows that were computed.

    Raises:
        OptionError: When there is no such block, or a row has no tokens.
        ModelError: When the model cannot be run from the block on, when what stands in padding
            changes what it gives elsewhere, or when states are not finite.
        OutputError: When the cache cannot be written.
    """
    if min(map(len, rows), default=0) == 0:
        raise OptionError("states are computed of rows with tokens in them, and a row has none")
    prefix = Prefix(model, block)
    lengths = [len(row) for row in rows]
    order = _longest_first(lengths)
    few = sorted({order[len(order) * part // 4] for part in range(4)} | {order[-1]})
    sample = dict(zip(few, _computed(prefix, [rows[index] for index in few]), strict=True))
    _check_padding(prefix, [rows[index] for index in few], list(sample.values()))
    first = sample[few[0]]

    def make() -> Iterator[Arrays]:
        for batch in _batched(rows, batch_size):
            states = _states(prefix, batch)
            kept = torch.cat([states[n][: lengths[i]] for n, i in enumerate(batch.prompts)])
            yield {"states": _storable(kept).numpy()}
            tick(len(batch.prompts))

    def accept(arrays: Arrays) -> bool:
        found = RowStates(arrays["states"], lengths, first.dtype)
        return all(alike(states, found[index]) for index, states in sample.items())

    arrays = (cache or Cache()).arrays(
        _description(model, rows, block, batch_size),
        make,
        size=sum(lengths) * first.shape[-1] * first.element_size(),
        accept=accept,
    )
    return RowStates(arrays["states"], lengths, first.dtype)


def _longest_first(lengths: Sequence[int]) -> list[int]:
    """The order in which rows are computed, and so kept."""
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))


def _batched(rows: Tokens, batch_size: int) -> Iterator[Batch]:
    return batches(rows, [[0]] * len(rows), pooling="last", batch_size=batch_size)


def _states(prefix: Prefix, batch: Batch) -> Tensor:
    """The states of a batch, on the CPU; ``ModelError`` when they are not usable."""
    tower = prefix.model.blocks.tower
    states = prefix.capture(tower, **tower_inputs(batch, tower)).cpu()
    if not bool(torch.isfinite(states[batch.mask]).all()):
        name = prefix.model.blocks.names[prefix.block]
        raise ModelError(f"{name} reads states that are not finite: try --dtype float32")
    return states


def _computed(prefix: Prefix, rows: Tokens) -> list[Tensor]:
    """The states of a few rows, in their order."""
    (batch,) = _batched(rows, len(rows))
    states = dict(zip(batch.prompts, _states(prefix, batch), strict=True))
    return [states[index][: len(row)] for index, row in enumerate(rows)]


def _check_padding(prefix: Prefix, rows: Tokens, states: Sequence[Tensor]) -> None:
    """Refuse a model to which it matters what stands in padding: there states are zero."""
    tower = prefix.model.blocks.tower
    (batch,) = _batched(rows, len(rows))
    inputs = tower_inputs(batch, tower)
    given = pad_states([states[index] for index in batch.prompts], batch.tokens.shape[1])
    with evaluation_mode(tower), torch.no_grad():
        whole = next(iter(tensors(tower(**inputs)).values()))
        with prefix.from_states(given):
            part = next(iter(tensors(tower(**inputs)).values()))
    mask = batch.mask.to(whole.device)
    if not alike(whole[mask], part[mask]):
        raise ModelError(
            f"{prefix.model.name} cannot be run from block {prefix.block} on with states from a "
            "cache: it reads padding, whatever its mask says"
        )


def _storable(states: Tensor) -> Tensor:
    """The same bytes in a dtype that numpy has."""
    return states.view(torch.int16) if states.dtype == torch.bfloat16 else states


def _description(model: LoadedModel, rows: Tokens, block: int, batch_size: int) -> dict[str, Any]:
    """Everything that the states of rows depend on, as plain data."""
    tokens = hashlib.sha256(json.dumps([list(map(int, row)) for row in rows]).encode())
    return {
        "what": f"states before block {block}",
        **fingerprint(model, model.blocks.tower, model.blocks.modules[block:]),
        "rows": tokens.hexdigest(),
        "batch_size": batch_size,
    }

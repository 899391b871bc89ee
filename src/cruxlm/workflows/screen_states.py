"""The states that a screening reads: one pass, pooled in as many ways as are asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.data.supervised import SupervisedRow
from cruxlm.models.batches import Batch, batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.models.pooling import pooled_in
from cruxlm.models.readout import read_out
from cruxlm.numerics.states import StatesAccumulator
from cruxlm.runtime.progress import Tick

TOKENS = ("prompt", "row")
"""What is read of a row: its prompt, or its response as well."""
READ_AT_ONCE = 256
"""States that are read out at once: their logits are as wide as the vocabulary."""

Pooled = Mapping[str, Float[Tensor, "blocks samples width"]]
"""What leaves each block, by the way it is pooled."""
Receive = Callable[[Sequence[int], Pooled, Float[Tensor, "samples width"]], None]
"""Is handed the numbers of rows, their pooled states, and what leaves the last block at the last
token of their prompts; the states are overwritten when it returns."""


@dataclass(frozen=True)
class Reading:
    """How rows are read."""

    pooling: tuple[str, ...]
    """Ways of pooling, of ``POOLINGS``."""
    tokens: str
    """One of ``TOKENS``."""
    batch_size: int
    """Rows that are read at once."""


def each_batch(
    model: LoadedModel,
    rows: Sequence[SupervisedRow],
    reading: Reading,
    receive: Receive,
    tick: Tick,
) -> None:
    """Run rows through a model, as far as they are read, and hand on their states by batches."""
    prompts = [row.tokens[: row.response[reading.tokens == "row"]] for row in rows]
    bos = getattr(model.tokenizer, "bos_token_id", None)
    places = chosen_positions(
        [len(prompt) for prompt in prompts],
        "all",
        skip_first=[bos is not None and prompt[0] == bos for prompt in prompts],
        limit=sum(map(len, prompts)),
        seed=0,
    )
    pad = getattr(text_config(model.module), "pad_token_id", None)
    prepared = batches(
        prompts,
        places,
        pooling="all",
        batch_size=reading.batch_size,
        pad_token=pad if isinstance(pad, int) and pad >= 0 else 0,
    )
    last = [row.response[0] - 1 for row in rows]

    def take(batch: Batch, states: Float[Tensor, "layers samples width"]) -> None:
        *parts, ends = torch.split(states[1:], len(batch.prompts), dim=1)
        receive(batch.prompts, dict(zip(reading.pooling, parts, strict=True)), ends[-1])
        tick(len(batch.prompts))

    capture(model.blocks, prepared, take, pool=pooled_in(reading.pooling, last))


def all_states(
    model: LoadedModel, rows: Sequence[SupervisedRow], reading: Reading, tick: Tick
) -> tuple[Pooled, Float[Tensor, "samples width"]]:
    """The pooled states of all rows, and those at the last token of their prompts, in order."""
    kept: dict[str, StatesAccumulator] = {}
    last: list[Tensor] = [torch.empty(0)] * len(rows)
    names = [f"{place:09d}" for place in range(len(rows))]

    def receive(places: Sequence[int], pooled: Pooled, final: Tensor) -> None:
        for way, states in pooled.items():
            if way not in kept:
                kept[way] = StatesAccumulator(names, states.shape[0], states.shape[2])
            kept[way].update([names[place] for place in places], states)
        for place, state in zip(places, final, strict=True):
            last[place] = state.clone()

    each_batch(model, rows, reading, receive, tick)
    return {way: held.compute().values for way, held in kept.items()}, torch.stack(last)


def first_tokens(model: LoadedModel, states: Float[Tensor, "samples width"]) -> list[int]:
    """The likeliest token after each prompt, from the state at its last token."""
    found: list[int] = []
    for part in torch.split(states, READ_AT_ONCE):
        found += read_out(model, part).argmax(dim=-1).tolist()
    return found

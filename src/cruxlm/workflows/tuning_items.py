"""What the Trainer is handed: rows in their order, packed rows, or rows with cached states."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cruxlm.actions.fit import Ordered
from cruxlm.actions.settings import Settings
from cruxlm.actions.trainer import Guide
from cruxlm.data.packing import Encoded, PackCollator, Packs, check_packing
from cruxlm.data.supervised import Collator, Supervised, SupervisedRow, training_order
from cruxlm.evaluate.causal import pad_token
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import evaluation_mode
from cruxlm.models.prefix import Prefix
from cruxlm.models.randomness import random_below
from cruxlm.models.row_states import RowStates, cached_states, pad_states
from cruxlm.results.plan import Plan
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.progress import progress

STATES = "states"
"""What a batch calls the states that its rows have before the lowest trained block."""

PACKED = 1024
"""Tokens of a packed sequence, where rows are no longer: its mask has the square of them."""

Encode = Callable[[list[Any]], dict[str, Any]]


@dataclass(frozen=True)
class Items:
    """Training items and how they become a batch."""

    ordered: Ordered
    """In the order they are trained on."""
    collate: Encode
    """Makes a batch of them."""
    guide: Guide | None = None
    """Sets the model up for a batch, where it needs that."""


@dataclass(frozen=True)
class WithStates:
    """Rows beside their states."""

    rows: Sequence[SupervisedRow]
    """The rows."""
    states: RowStates
    """Of each row, of shape (tokens, width)."""

    def __getitem__(self, place: int) -> tuple[SupervisedRow, Tensor]:
        return self.rows[place], self.states[place]


def training_items(
    model: LoadedModel,
    plan: Plan,
    rows: Supervised,
    limit: int,
    settings: Settings,
    *,
    show_progress: bool = False,
) -> Items:
    """The items of a run.

    Raises:
        OptionError: When a prefix is to be cached and there is none, or it is not always the same.
        ModelError: When rows are to be packed and the model does not keep them apart, or it cannot
            be run from a block on.
    """
    if settings.pack:
        encoded = [Encoded(row.tokens, row.response[0]) for row in rows.rows]
        length = pack_length(rows, limit)
        with evaluation_mode(model.module):
            check_packing(model.module, encoded, length)
        packs = Packs(encoded, length)
        return Items(Ordered(packs, _order([length] * len(packs), settings)), PackCollator())
    order = _order([len(row.tokens) for row in rows.rows], settings)
    collate = Collator(pad_token(model))
    if not settings.cache_prefix:
        return Items(Ordered(rows.rows, order), collate)
    prefix = Prefix(model, cached_block(model, plan))
    tokens = [row.tokens for row in rows.rows]
    with progress("caching the prefix", len(tokens), show=show_progress) as tick:
        states = cached_states(model, tokens, prefix.block, batch_size=settings.batch, tick=tick)

    def with_states(items: list[tuple[SupervisedRow, Tensor]]) -> dict[str, Any]:
        batch = collate([row for row, _ in items])
        length = batch["input_ids"].shape[1]
        return {**batch, STATES: pad_states([held for _, held in items], length)}

    def guide(inputs: dict[str, Any]) -> AbstractContextManager[None]:
        return prefix.from_states(inputs.pop(STATES))

    return Items(Ordered(WithStates(rows.rows, states), order), with_states, guide)


def pack_length(rows: Supervised, limit: int) -> int:
    """Tokens of a packed sequence: as long as the longest row, and no shorter than ``PACKED``."""
    return min(limit, max(PACKED, *(len(row.tokens) for row in rows.rows)))


def cached_block(model: LoadedModel, plan: Plan) -> int:
    """The lowest trained block, once it is known that all below stays what it is.

    Raises ``OptionError`` when it does not.
    """
    block = min(plan.trained)
    if "embeddings" in plan.parts:
        raise OptionError("no prefix can be cached: embeddings, below every block, are trained")
    if block == 0:
        raise OptionError("no prefix can be cached: block 0 is trained, and no block is below it")
    random = random_below(model, block)
    if random:
        raise OptionError(
            f"no prefix can be cached: {random[0]} makes what is below block {block} random in "
            "training; set it to 0"
        )
    return block


def _order(lengths: list[int], settings: Settings) -> list[int]:
    steps = settings.steps * settings.accumulate
    return training_order(lengths, batch=settings.batch, steps=steps, seed=settings.seed)

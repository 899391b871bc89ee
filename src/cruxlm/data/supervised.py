"""Chats to the rows that a model is trained on: which tokens it learns, in which order."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cruxlm.data.chat import Span, encode_chat
from cruxlm.data.fields import group_of
from cruxlm.runtime.errors import OptionError, ProbeError

UNLEARNED = -100
"""The label of a token that is in no loss: what torch and transformers pass over."""


@dataclass(frozen=True)
class SupervisedRow:
    """A chat as tokens."""

    id: str
    """The row's id."""
    tokens: tuple[int, ...]
    """Token ids from the chat's first to the response's last, or to where it was cut."""
    response: Span
    """Which of them are the response, the token that ends the turn included; never empty."""
    group: str | None
    """The family or source it belongs to."""


@dataclass(frozen=True)
class Supervised:
    """The rows of instruction data that can be trained on."""

    rows: tuple[SupervisedRow, ...]
    """In the order of the data."""
    truncated: int
    """How many of them were cut at the right; the end of their response is not learned."""
    left_out: dict[str, int]
    """Rows passed over, by reason: ``prompt_too_long``, no room for a token of the response."""


def encode_rows(
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    max_tokens: int,
    vocabulary: int | None = None,
) -> Supervised:
    """Chat rows as tokens, none longer than ``max_tokens``.

    What a template writes after the response is left off: nothing is learned there, and no token
    before it can see it. Raises ``ProbeError`` for a row that is no chat or that the template
    refuses or has a token beyond ``vocabulary``, naming it, and when there is no row left.
    """
    kept: list[SupervisedRow] = []
    truncated = 0
    left_out: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        name = str(number if row.get("id") is None else row["id"])
        try:
            encoded = encode_chat(tokenizer, row["messages"])
        except ProbeError as error:
            raise ProbeError(f"row {name!r}: {error}") from error
        begin, end = encoded.response
        if begin == 0:
            raise ProbeError(
                f"row {name!r} has no token before its response: nothing to predict that from"
            )
        if vocabulary and max(encoded.tokens) >= vocabulary:
            raise ProbeError(
                f"row {name!r}: the tokenizer gives token {max(encoded.tokens)}, the model knows "
                f"{vocabulary}: they do not belong together"
            )
        if begin >= max_tokens:
            left_out["prompt_too_long"] += 1
            continue
        truncated += end > max_tokens
        end = min(end, max_tokens)
        kept.append(SupervisedRow(name, encoded.tokens[:end], (begin, end), group_of(row)))
    if not kept:
        why = f"all {len(rows)} prompts fill the {max_tokens} tokens that a row may have"
        raise ProbeError(
            f"{why}: allow more, or shorten them" if rows else "there are no rows to train on"
        )
    return Supervised(tuple(kept), truncated, dict(left_out))


def training_order(lengths: Sequence[int], *, batch: int, steps: int, seed: int) -> list[int]:
    """Indices of rows in the order they are trained on: ``batch`` a step, for ``steps`` steps.

    In an epoch every row comes once. A batch holds rows of like length, ties drawn anew each epoch,
    and the batches of an epoch are shuffled. Rows that are too few for a batch, neighbours in
    length drawn at random, are filled up from the next epoch before it goes on; so after any number
    of steps no row has been seen more than once more often than another. A pure function: a run
    that goes on after a stop gets the same order.

    Raises ``OptionError`` when there are no rows, or batch or steps are below 1.
    """
    if not lengths or batch < 1 or steps < 1:
        raise OptionError(f"{steps} steps of {batch} of {len(lengths)} rows: all must be 1 or more")
    order: list[int] = []
    waiting: list[int] = []
    epoch = 0
    while len(order) < batch * steps:
        # Seeded by a text: its hash is the same in every process.
        draw = random.Random(f"{seed} {epoch}")
        rows = sorted(range(len(lengths)), key=lambda row: (lengths[row], draw.random()))
        if waiting:
            rows, waiting = _filled(rows, waiting, lengths, batch)
            if len(waiting) == batch:
                order += waiting
                waiting = []
        whole, spare = divmod(len(rows), batch)
        begin = batch * draw.randint(0, whole)
        waiting += rows[begin : begin + spare]
        del rows[begin : begin + spare]
        batches = [rows[first : first + batch] for first in range(0, len(rows), batch)]
        draw.shuffle(batches)
        order += [row for members in batches for row in members]
        epoch += 1
    return order[: batch * steps]


def _filled(
    rows: list[int], waiting: list[int], lengths: Sequence[int], batch: int
) -> tuple[list[int], list[int]]:
    """The rows of an epoch but for those that fill up a batch, and that batch.

    Those of the nearest length, and as long as there are others none that waits in it already.
    """
    like = lengths[waiting[0]]
    nearest = sorted(rows, key=lambda row: (row in waiting, abs(lengths[row] - like)))
    taken = set(nearest[: batch - len(waiting)])
    fill = [row for row in rows if row in taken]
    return [row for row in rows if row not in taken], [*waiting, *fill]


@dataclass(frozen=True)
class Collator:
    """Rows as a batch, padded on the right to the longest."""

    pad_token: int
    """Fills the rows; no token sees it."""

    def __call__(self, rows: Sequence[SupervisedRow]) -> dict[str, Tensor]:
        """``input_ids``, ``attention_mask`` and ``labels``, each (rows, tokens).

        A label is the token itself, where it is of the response, and else ``UNLEARNED``: the model
        shifts them.
        """
        shape = len(rows), max(len(row.tokens) for row in rows)
        tokens = torch.full(shape, self.pad_token)
        mask = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, UNLEARNED)
        for place, row in enumerate(rows):
            begin, end = row.response
            tokens[place, : len(row.tokens)] = torch.tensor(row.tokens)
            mask[place, : len(row.tokens)] = 1
            labels[place, begin:end] = tokens[place, begin:end]
        return {"input_ids": tokens, "attention_mask": mask, "labels": labels}

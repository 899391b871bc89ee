"""Rows packed into sequences of one length, none of them visible to another.

Rows of some 40 tokens on average, packed first-fit into sequences of 128, leave about 3 % of the
places empty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from cruxlm.data.supervised import UNLEARNED
from cruxlm.runtime.errors import ModelError, OptionError

OPEN_SEQUENCES = 32
"""Sequences that first-fit keeps open; more fill better and change the rows' order more."""

APART = 1e-3
"""Nats by which a token's loss may differ between a packed row and the row alone, on average, in
float32. On 20 architectures rounding made up to 3e-6 of it; another row in sight, or a window that
was lost, even in an untrained model 0.01 or more."""
APART_HALF = 0.1
"""The same for models in half precision. In trained models rounding made up to 0.04 of it, another
row in sight 0.25 or more."""


class Encoded(NamedTuple):
    """One row as tokens."""

    tokens: Sequence[int]
    """Token ids of the whole row."""
    prompt: int
    """How many of them come before the response, which all others are."""


class Packs(Dataset[dict[str, Any]]):
    """Packed sequences, kept as three integer arrays of shape (sequences, context)."""

    def __init__(self, encoded: Iterable[Encoded], context: int, limit: int | None = None) -> None:
        """Pack rows first-fit.

        Args:
            encoded: The rows. Read only as far as needed when a limit is given.
            context: Tokens of a sequence.
            limit: Stop after this many sequences. Rows in sequences still open are dropped
                then; without a limit every row is packed.

        Raises:
            OptionError: When a row is longer than a sequence.
        """
        open_: list[list[Encoded]] = []
        room: list[int] = []
        done: list[list[Encoded]] = []
        for row in encoded:
            size = len(row.tokens)
            if size > context:
                raise OptionError(f"a row of {size} tokens does not fit a context of {context}")
            place = next((i for i, free in enumerate(room) if free >= size), None)
            if place is None:
                open_.append([row])
                room.append(context - size)
                if len(open_) > OPEN_SEQUENCES:
                    fullest = min(range(len(room)), key=room.__getitem__)
                    done.append(open_.pop(fullest))
                    room.pop(fullest)
            else:
                open_[place].append(row)
                room[place] -= size
            if limit is not None and len(done) >= limit:
                break
        else:
            done += open_
        self.tokens = np.zeros((len(done), context), dtype=np.int32)
        self.rows = np.zeros((len(done), context), dtype=np.int16)
        self.responses = np.zeros((len(done), context), dtype=bool)
        for i, sequence in enumerate(done):
            at = 0
            for number, row in enumerate(sequence, start=1):
                end = at + len(row.tokens)
                self.tokens[i, at:end] = row.tokens
                self.rows[i, at:end] = number
                self.responses[i, at + row.prompt : end] = True
                at = end

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sequence: ``tokens``, ``rows`` (1, 2, ...; 0 is padding), ``responses``."""
        return {
            "tokens": self.tokens[index],
            "rows": self.rows[index],
            "responses": self.responses[index],
        }


@dataclass(frozen=True, slots=True)
class PackCollator:
    """Turns packed sequences into a batch for the model."""

    prompt_weight: float | None = None
    """Weight of a prompt token in the loss; a response token has weight 1. None for a model's own
    loss, which weighs nothing: the responses are its labels."""

    def __call__(self, sequences: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Collate.

        Returns:
            ``input_ids``, ``labels`` and ``position_ids``, all (batch, context), and an
            ``attention_mask`` (batch, 1, context, context) that is 0 where a token may look
            (back, and within its own row) and very negative elsewhere. Padding looks at
            padding, so that no line of the mask is closed. With a ``prompt_weight`` also
            ``rows`` and ``loss_weights``; without, labels are ``UNLEARNED`` where a token is in
            no response.
        """
        tokens = torch.from_numpy(np.stack([s["tokens"] for s in sequences])).long()
        rows = torch.from_numpy(np.stack([s["rows"] for s in sequences]))
        responses = torch.from_numpy(np.stack([s["responses"] for s in sequences]))
        context = tokens.shape[1]
        places = torch.arange(context).expand_as(tokens)
        begins = torch.ones_like(responses)
        begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
        starts = torch.where(begins, places, 0).cummax(dim=1).values
        weights = torch.where(responses, 1.0, self.prompt_weight or 0.0)
        # The first token of a row would be predicted from the row before it.
        weights[begins | (rows == 0)] = 0.0
        same = rows[:, None, :, None] == rows[:, None, None, :]
        visible = same & torch.ones(context, context, dtype=torch.bool).tril()
        batch = {
            "input_ids": tokens,
            "labels": tokens,
            "position_ids": places - starts,
            # Eager attention adds the mask, so it has to be numbers and not booleans.
            "attention_mask": torch.where(visible, 0.0, torch.finfo(torch.float32).min),
        }
        if self.prompt_weight is None:
            return {**batch, "labels": tokens.where(weights > 0, UNLEARNED)}
        return {**batch, "rows": rows, "loss_weights": weights}


def check_packing(model: nn.Module, rows: Sequence[Encoded], context: int) -> None:
    """Refuse a model that reads packed rows otherwise than alone (``ModelError``).

    Some take no such mask or positions, some pass over them (recurrent ones), and a sliding window
    is lost to it. Three rows tell: the shortest, the longest that fits behind it, and the longest.
    """
    sizes = sorted(rows, key=lambda row: len(row.tokens))
    behind = [row for row in sizes[1:] if len(sizes[0].tokens) + len(row.tokens) <= context]
    error = packing_error(model, [sizes[0], *behind[-1:], sizes[-1]], context)
    half = next(model.parameters()).dtype.itemsize < 4
    if not error <= (APART_HALF if half else APART):
        raise ModelError(
            f"{type(model).__name__} does not keep packed rows apart (a token's loss differs by "
            f"{error:.2g} nats from that in the row alone): train without packing"
        )


@torch.no_grad()
def packing_error(model: nn.Module, rows: Sequence[Encoded], context: int) -> float:
    """By how many nats a token's loss in a pack differs from that in its row alone.

    The mean over a row's tokens, and of those the largest: in bfloat16 a single token's differs by
    up to 0.4. The model must be in evaluation mode. Raises ``ModelError`` when it cannot read packs
    at all.
    """
    packs = Packs(rows, context)
    device = next(model.parameters()).device
    batch = PackCollator()([packs[i] for i in range(len(packs))])
    batch = {name: tensor.to(device) for name, tensor in batch.items() if name != "labels"}
    tokens = batch["input_ids"]
    alone: list[tuple[int, slice, Tensor]] = []
    for i, numbers in enumerate(packs.rows):
        for number in range(1, numbers.max() + 1):
            places = np.flatnonzero(numbers == number)
            first, last = int(places[0]), int(places[-1])
            losses = _losses(model, input_ids=tokens[i : i + 1, first : last + 1])[0]
            alone.append((i, slice(first, last), losses))
    try:
        packed = _losses(model, **batch)
    except Exception as error:  # every model fails in a way of its own
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{type(model).__name__} cannot read packed rows ({line}): train without packing"
        ) from error
    return max(float((packed[i, own] - losses).abs().mean()) for i, own, losses in alone)


def _losses(model: nn.Module, **given: Tensor) -> Tensor:
    """The loss of each token but the first, by rows and tokens."""
    logits = model(**given, use_cache=False).logits[:, :-1].float()
    return cross_entropy(logits.transpose(1, 2), given["input_ids"][:, 1:], reduction="none")

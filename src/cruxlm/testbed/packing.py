"""Rows packed into sequences of one length, none of them visible to another.

A row is ``<bos><user> PROMPT<assistant> RESPONSE<eos>``, some 40 tokens on average; packed
first-fit into sequences of 128, about 3 % of the places stay empty.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.row import Row
from cruxlm.testbed.tokenizer import ASSISTANT, USER

OPEN_SEQUENCES = 32
"""Sequences that first-fit keeps open; more fill better and change the rows' order more."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as tokens."""

    tokens: list[int]
    """Token ids of the whole row, from ``<bos>`` to ``<eos>``."""
    prompt: int
    """How many of them come before the response."""


def encode(row: Row, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Encode a row in the chat frame.

    Prompt and response are tokenised apart; as a special token stands between them, the
    result is that of the whole text at once.
    """
    special: dict[str, int] = tokenizer.get_added_vocab()
    prompt: list[int] = tokenizer(f" {row.prompt}", add_special_tokens=False).input_ids
    response: list[int] = tokenizer(f" {row.response}", add_special_tokens=False).input_ids
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    before = [bos, special[USER], *prompt, special[ASSISTANT]]
    return Encoded([*before, *response, eos], prompt=len(before))


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
class Collator:
    """Turns packed sequences into a batch for the model."""

    prompt_weight: float
    """Weight of a prompt token in the loss; a response token has weight 1."""

    def __call__(self, sequences: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate.

        Returns:
            ``input_ids``, ``labels``, ``position_ids``, ``rows`` and ``loss_weights``, all
            (batch, context), and an ``attention_mask`` (batch, 1, context, context) that is
            0 where a token may look (back, and within its own row) and very negative
            elsewhere. Padding looks at padding, so that no line of the mask is closed.
        """
        tokens = torch.from_numpy(np.stack([s["tokens"] for s in sequences])).long()
        rows = torch.from_numpy(np.stack([s["rows"] for s in sequences]))
        responses = torch.from_numpy(np.stack([s["responses"] for s in sequences]))
        context = tokens.shape[1]
        places = torch.arange(context).expand_as(tokens)
        begins = torch.ones_like(responses)
        begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
        starts = torch.where(begins, places, 0).cummax(dim=1).values
        weights = torch.where(responses, 1.0, self.prompt_weight)
        # The first token of a row would be predicted from the row before it.
        weights[begins | (rows == 0)] = 0.0
        same = rows[:, None, :, None] == rows[:, None, None, :]
        visible = same & torch.ones(context, context, dtype=torch.bool).tril()
        return {
            "input_ids": tokens,
            "labels": tokens,
            "position_ids": places - starts,
            "rows": rows,
            "loss_weights": weights,
            # Eager attention adds the mask, so it has to be numbers and not booleans.
            "attention_mask": torch.where(visible, 0.0, torch.finfo(torch.float32).min),
        }

"""How well a model knows the language: loss and accuracy on held-out rows, by family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .families import FAMILIES
from .language import rows
from .packing import Encoded, encode


@dataclass(frozen=True, slots=True)
class Figures:
    """Teacher-forced figures of one family: every token is predicted after the right ones."""

    rows: int
    """Rows measured."""
    loss: float
    """Mean cross-entropy of the response tokens, in nats a token."""
    token_accuracy: float
    """Share of the response tokens that are the model's first choice."""
    exact: float
    """Share of the rows where all of them are: what greedy decoding would get word for word."""


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[Encoded],
    batch: int = 32,
) -> Figures:
    """Measure a model on encoded rows.

    Args:
        model: A causal language model; it is left in evaluation mode.
        tokenizer: Its tokenizer, for the padding token.
        encoded: The rows; at least one.
        batch: Rows of one forward pass.
    """
    model.eval()
    losses: list[float] = []
    hits: list[bool] = []
    exact = 0
    for start in range(0, len(encoded), batch):
        for row_losses, row_hits in _forward(model, tokenizer, encoded[start : start + batch]):
            losses += row_losses
            hits += row_hits
            exact += all(row_hits)
    return Figures(
        rows=len(encoded),
        loss=sum(losses) / len(losses),
        token_accuracy=sum(hits) / len(hits),
        exact=exact / len(encoded),
    )


@torch.no_grad()
def _forward(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, chunk: list[Encoded]
) -> list[tuple[list[float], list[bool]]]:
    """Losses and hits of the response tokens, row by row."""
    sequences = [torch.tensor(row.tokens, device=model.device) for row in chunk]
    tokens = torch.nn.utils.rnn.pad_sequence(
        sequences, batch_first=True, padding_value=float(tokenizer.pad_token_id)
    )
    lengths = torch.tensor([len(row.tokens) for row in chunk], device=model.device)
    mask = torch.arange(tokens.shape[1], device=model.device) < lengths[:, None]
    logits = model(input_ids=tokens, attention_mask=mask.long()).logits.float()
    measured = []
    for row, ids, scores in zip(chunk, tokens, logits, strict=True):
        # The logits at a place predict the token after it.
        predicted = scores[row.prompt - 1 : len(row.tokens) - 1]
        wanted = ids[row.prompt : len(row.tokens)]
        loss = torch.nn.functional.cross_entropy(predicted, wanted, reduction="none")
        measured.append((loss.tolist(), (predicted.argmax(-1) == wanted).tolist()))
    return measured


def held_out(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    n: int,
    seed: int = 0,
    families: Iterable[str] = tuple(FAMILIES),
) -> dict[str, Figures]:
    """Measure a model on ``n`` held-out rows of each family.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        n: Rows of each family.
        seed: Seed of the rows.
        families: Names of the families.
    """
    return {
        name: measure(
            model,
            tokenizer,
            [encode(row, tokenizer) for row in rows("heldout", n, seed, [name])],
        )
        for name in families
    }

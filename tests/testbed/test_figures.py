"""Figures of held-out rows against the loss that transformers computes itself."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.testbed.figures import held_out, measure
from cruxlm.testbed.language import rows
from cruxlm.testbed.packing import encode


def test_one_row_against_the_library(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    row = encode(rows("heldout", 1)[0], tokenizer)
    tokens = torch.tensor([row.tokens])
    labels = tokens.clone()
    labels[:, : row.prompt] = -100
    expected = model(input_ids=tokens, labels=labels).loss.item()
    assert measure(model, tokenizer, [row]).loss == pytest.approx(expected, rel=1e-5)


def test_batches_do_not_matter(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = [encode(row, tokenizer) for row in rows("heldout", 9)]
    alone = measure(model, tokenizer, encoded, batch=1)
    together = measure(model, tokenizer, encoded, batch=4)
    assert astuple(together) == pytest.approx(astuple(alone), rel=1e-5)


def test_a_model_that_always_says_one_token(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    # With the final norm at zero all logits are equal: the loss is ln(vocabulary) and the
    # first choice is token 0, which no response holds.
    torch.nn.init.zeros_(model.model.norm.weight)
    figures = held_out(model, tokenizer, n=3, families=["recall"])["recall"]
    assert figures.rows == 3
    assert figures.loss == pytest.approx(torch.log(torch.tensor(1024.0)).item(), rel=1e-6)
    assert figures.token_accuracy == figures.exact == 0

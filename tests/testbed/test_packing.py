"""Packing loses no row, and a packed row is predicted as if it were alone."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.testbed.language import rows
from cruxlm.testbed.packing import Collator, Encoded, Packs, encode


@pytest.fixture(scope="module")
def encoded(tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    return [encode(row, tokenizer) for row in rows("train", 400)]


def unpacked(packs: Packs) -> list[tuple[tuple[int, ...], int]]:
    """Tokens and prompt length of each packed row."""
    found = []
    for tokens, numbers, responses in zip(packs.tokens, packs.rows, packs.responses, strict=True):
        for number in range(1, numbers.max() + 1):
            here = numbers == number
            found.append((tuple(tokens[here].tolist()), int((~responses[here]).sum())))
    return found


def test_each_row_is_packed_once_and_whole(encoded: list[Encoded]) -> None:
    packs = Packs(encoded, context=256)
    assert sorted(unpacked(packs)) == sorted((tuple(e.tokens), e.prompt) for e in encoded)


def test_a_limit_stops_reading_and_leaves_few_places_empty(encoded: list[Encoded]) -> None:
    read = 0

    def stream() -> object:
        nonlocal read
        for read, row in enumerate(encoded, start=1):  # noqa: B007
            yield row

    packs = Packs(stream(), context=256, limit=20)  # type: ignore[arg-type]
    assert len(packs) == 20
    assert read < len(encoded)
    assert (packs.rows > 0).mean() > 0.95


def test_a_row_longer_than_the_context_is_refused(encoded: list[Encoded]) -> None:
    with pytest.raises(ValueError, match="does not fit a context of 8"):
        Packs(encoded, context=8)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_packed_row_is_predicted_as_if_alone(
    encoded: list[Encoded], model: LlamaForCausalLM, attention: str
) -> None:
    model.set_attn_implementation(attention)
    packs = Packs(encoded[:12], context=256)
    batch = Collator(prompt_weight=0.1)([packs[i] for i in range(len(packs))])
    weights, labels = batch.pop("loss_weights"), batch.pop("labels")
    together = model(**batch).logits
    for i, numbers in enumerate(torch.from_numpy(packs.rows)):
        for number in range(1, int(numbers.max()) + 1):
            here = numbers == number
            alone = model(input_ids=labels[i][here][None]).logits[0]
            torch.testing.assert_close(together[i][here], alone, atol=1e-4, rtol=1e-4)
            # The first token has no past to be predicted from.
            assert weights[i][here][0] == 0
    assert weights[torch.from_numpy(packs.rows) == 0].sum() == 0


def test_without_the_mask_rows_would_be_seen(
    encoded: list[Encoded], model: LlamaForCausalLM
) -> None:
    packs = Packs(encoded[:6], context=256)
    batch = Collator(prompt_weight=0.1)([packs[0]])
    second = torch.from_numpy(packs.rows[:1]) == 2
    masked = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
    ).logits[second]
    bare = model(input_ids=batch["input_ids"]).logits[second]
    assert (masked - bare).abs().max() > 1e-2


def test_responses_weigh_one_and_prompts_less(encoded: list[Encoded]) -> None:
    batch = Collator(prompt_weight=0.25)([Packs(encoded[:1], context=256)[0]])
    row = encoded[0]
    response = len(row.tokens) - row.prompt
    expected = [0.0, *[0.25] * (row.prompt - 1), *[1.0] * response]
    assert batch["loss_weights"][0, : len(row.tokens)].tolist() == expected

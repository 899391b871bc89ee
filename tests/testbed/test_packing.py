"""Packing loses no row, and a packed row is predicted as if it were alone."""

import numpy as np
import pytest
import torch

from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.language import rows
from cruxlm.testbed.loop import TestbedTrainer
from cruxlm.testbed.packing import OPEN_SEQUENCES, Collator, Encoded, Packs, encode


@pytest.fixture(scope="module")
def encoded(tokenizer):
    return [encode(row, tokenizer) for row in rows("train", 300)]


def unpacked(packs):
    """Tokens and prompt length of each packed row, in the order they stand in."""
    found = []
    for tokens, numbers, responses in zip(packs.tokens, packs.rows, packs.responses, strict=True):
        for number in range(1, numbers.max() + 1):
            here = numbers == number
            found.append((tuple(tokens[here].tolist()), int((~responses[here]).sum())))
    return found


def batch_of(packs, prompt_weight=0.1):
    return Collator(prompt_weight)([packs[i] for i in range(len(packs))])


def test_each_row_is_packed_once_and_whole(encoded):
    packs = Packs(encoded, context=192)
    assert sorted(unpacked(packs)) == sorted((tuple(e.tokens), e.prompt) for e in encoded)
    assert packs.tokens[packs.rows == 0].sum() == 0
    # A row's number goes up within a sequence, and padding comes last.
    for numbers in packs.rows:
        real = numbers[numbers > 0]
        assert (np.diff(real) >= 0).all()
        assert (numbers[: len(real)] > 0).all()


def test_rows_stay_in_their_order_but_for_those_that_are_kept_waiting(encoded):
    """A curriculum is an order: packing moves a row by no more than the open sequences hold."""
    place = {tuple(e.tokens): i for i, e in enumerate(encoded)}
    packs = Packs(encoded, context=192)
    first = [place[tokens] for tokens, _ in unpacked(packs)]
    assert np.corrcoef(first, np.arange(len(first)))[0, 1] > 0.5
    waiting = 6 * OPEN_SEQUENCES  # rows that the open sequences hold
    assert max(abs(i - p) for i, p in enumerate(first)) <= waiting
    short = [Encoded([1, 3, 9, 4, 8, 2], 4)] * 3
    long = [Encoded([1, 3, *[7] * 10, 4, 8, 2], 13)]
    packed = unpacked(Packs([*long, *short], context=20))
    assert [len(tokens) for tokens, _ in packed] == [15, 6, 6, 6]


def test_a_limit_stops_reading_and_leaves_few_places_empty(encoded):
    read = 0

    def stream():
        nonlocal read
        while True:
            yield encoded[read % len(encoded)]
            read += 1

    packs = Packs(stream(), context=192, limit=40)
    assert len(packs) == 40
    assert read < 40 * 192 / 15
    assert (packs.rows > 0).mean() > 0.95
    assert len(Packs([], context=8)) == 0


def test_a_row_longer_than_the_context_is_refused(encoded):
    with pytest.raises(OptionError, match=r"a row of .* tokens does not fit a context of 8"):
        Packs(encoded, context=8)
    longest = max(len(e.tokens) for e in encoded)
    assert len(Packs(encoded, context=longest)) > 0
    with pytest.raises(OptionError):
        Packs(encoded, context=longest - 1)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_packed_row_is_predicted_as_if_alone(encoded, model, attention):
    model.set_attn_implementation(attention)
    packs = Packs(encoded[:12], context=192)
    batch = batch_of(packs)
    weights, labels = batch.pop("loss_weights"), batch.pop("labels")
    numbered = batch.pop("rows")
    together = model(**batch).logits
    for i, numbers in enumerate(numbered):
        for number in range(1, int(numbers.max()) + 1):
            here = numbers == number
            alone = model(input_ids=labels[i][here][None]).logits[0]
            torch.testing.assert_close(together[i][here], alone, atol=1e-4, rtol=1e-4)
            # The first token has no past to be predicted from.
            assert weights[i][here][0] == 0
            assert batch["position_ids"][i][here].tolist() == list(range(int(here.sum())))
    assert weights[numbered == 0].sum() == 0


def test_without_the_mask_rows_would_be_seen(encoded, model):
    packs = Packs(encoded[:6], context=192)
    batch = Collator(prompt_weight=0.1)([packs[0]])
    second = batch["rows"] == 2
    assert second.any()
    masked = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
    ).logits[second]
    bare = model(input_ids=batch["input_ids"]).logits[second]
    assert (masked - bare).abs().max() > 1e-2


def test_the_mask_is_made_of_blocks():
    rows = np.array([[1, 1, 2, 2, 2, 0, 0]], dtype=np.int16)
    sequence = {"tokens": np.arange(7), "rows": rows[0], "responses": np.zeros(7, dtype=bool)}
    batch = Collator(0.5)([sequence])
    visible = batch["attention_mask"][0, 0] == 0
    expected = [[rows[0, i] == rows[0, j] and j <= i for j in range(7)] for i in range(7)]
    assert visible.tolist() == expected
    assert batch["rows"].tolist() == rows.tolist()
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0, 1]]
    assert batch["loss_weights"].tolist() == [[0, 0.5, 0, 0.5, 0.5, 0, 0]]
    assert batch["attention_mask"].min() < -1e30


@pytest.mark.parametrize("prompt_weight", [0.0, 0.25, 1.0])
def test_responses_weigh_one_and_prompts_less(encoded, prompt_weight):
    batch = batch_of(Packs(encoded[:1], context=192), prompt_weight)
    row = encoded[0]
    response = len(row.tokens) - row.prompt
    expected = [0.0, *[prompt_weight] * (row.prompt - 1), *[1.0] * response]
    assert batch["loss_weights"][0, : len(row.tokens)].tolist() == expected


# The loss of the training.


def loss(model, batch):
    trainer = TestbedTrainer.__new__(TestbedTrainer)
    trainer.codes, trainer.states = None, []
    return TestbedTrainer.compute_loss(trainer, model, batch)


@pytest.mark.parametrize("prompt_weight", [0.0, 0.1, 1.0])
def test_the_loss_is_the_weighted_mean_of_rows_alone(encoded, model, prompt_weight):
    few = encoded[:7]
    measured = loss(model, batch_of(Packs(few, context=192), prompt_weight))
    total = weight = 0.0
    for row in few:
        scores = model(input_ids=torch.tensor([row.tokens])).logits[0].log_softmax(-1)
        for place in range(1, len(row.tokens)):
            w = 1.0 if place >= row.prompt else prompt_weight
            total -= w * scores[place - 1, row.tokens[place]].item()
            weight += w
    assert measured.item() == pytest.approx(total / weight, rel=1e-4)


def test_the_loss_against_the_librarys(encoded, model):
    row = encoded[3]
    tokens = torch.tensor([row.tokens])
    labels = tokens.clone()
    labels[:, : row.prompt] = -100
    expected = model(input_ids=tokens, labels=labels).loss.item()
    measured = loss(model, batch_of(Packs([row], context=len(row.tokens)), 0.0))
    assert measured.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_leaves_its_batch_as_it_was(encoded, model):
    batch = batch_of(Packs(encoded[:3], context=192))
    names = set(batch)
    loss(model, batch)
    assert set(batch) == names

"""The loss of the training: packed rows of the language are predicted as if they were alone."""

import pytest
import torch

from cruxlm.data.packing import PackCollator, Packs
from cruxlm.testbed.language import rows
from cruxlm.testbed.loop import TestbedTrainer
from cruxlm.testbed.tokenizer import encode


@pytest.fixture(scope="module")
def encoded(tokenizer):
    return [encode(row, tokenizer) for row in rows("train", 300)]


def batch_of(packs, prompt_weight=0.1):
    return PackCollator(prompt_weight)([packs[i] for i in range(len(packs))])


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
    batch = PackCollator(prompt_weight=0.1)([packs[0]])
    second = batch["rows"] == 2
    assert second.any()
    masked = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
    ).logits[second]
    bare = model(input_ids=batch["input_ids"]).logits[second]
    assert (masked - bare).abs().max() > 1e-2


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

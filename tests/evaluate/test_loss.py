"""The loss: closed forms, transformers' own loss for one example alone, what changes nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import Loss, token_losses
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError
from evaluate.tiny_models import built, plain_logits, rigged

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def told(model, example):
    """What transformers itself says: one example, its prompt masked."""
    ids = torch.tensor([example.prompt + example.response])
    labels = ids.clone()
    labels[0, : len(example.prompt)] = -100
    with torch.no_grad():
        return model(ids, labels=labels).loss.item()


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_it_is_transformers_own_loss(architecture, examples, batch_size, padding):
    found = Loss(batch_size, padding)(architecture, examples)
    wanted = [told(architecture, example) for example in examples]
    assert len(set(np.round(wanted, 3))) == len(wanted)  # or a mix-up would not show
    np.testing.assert_allclose(found.values, wanted, **CLOSE)
    assert found.ids == tuple(example.id for example in examples)
    assert found.weights.tolist() == [len(example.response) for example in examples]


def test_losses_of_tokens(architecture, examples):
    for example, losses in zip(examples, token_losses(architecture, examples), strict=True):
        logits = plain_logits(architecture, example.prompt + example.response).double()
        tokens, first = example.prompt + example.response, len(example.prompt)
        wanted = [
            (logits[place - 1].logsumexp(0) - logits[place - 1, tokens[place]]).item()
            for place in range(first, len(tokens))
        ]
        np.testing.assert_allclose(losses, wanted, **CLOSE)


def test_closed_forms(tiny, examples):
    uniform = Loss()(rigged(tiny, 5, 0.0), examples)
    np.testing.assert_allclose(uniform.values, math.log(61), rtol=1e-6)
    # A token that the model is sure of, and one that it rules out.
    sure = rigged(tiny, 5, 30.0)
    right, wrong = Example("right", (3, 4), (5, 5, 5)), Example("wrong", (3, 4), (6,))
    found = Loss()(sure, [right, wrong])
    assert found.values[0] < 1e-9
    assert found.values[1] == pytest.approx(30.0, rel=1e-6)
    assert found.mean() == pytest.approx(15.0, rel=1e-6)
    assert found.mean("token") == pytest.approx(7.5, rel=1e-6)


def test_what_it_says_of_itself(tiny, examples):
    found = Loss()(tiny, examples)
    assert (found.evaluator, found.higher_is_better) == ("loss", False)
    assert (found.chance, found.texts, Loss().chance(examples)) == (None, None, None)
    assert found.groups == tuple(example.group for example in examples)
    assert sorted(found.by_group()) == ["even", "odd"]


def test_the_mean_over_tokens_is_that_of_a_training_loop(tiny, examples):
    losses = np.concatenate(token_losses(tiny, examples))
    assert Loss()(tiny, examples).mean("token") == pytest.approx(losses.mean(), rel=1e-12)


def test_the_order_of_examples_changes_nothing(tiny, examples):
    found = Loss(batch_size=3)(tiny, examples)
    order = [7, 2, 10, 0, 1, 9, 3, 8, 4, 6, 5]
    moved = Loss(batch_size=3)(tiny, [examples[place] for place in order])
    assert moved.ids == tuple(found.ids[place] for place in order)
    np.testing.assert_allclose(moved.values, found.values[order], **CLOSE)


def test_the_prompt_counts_only_as_context(tiny, examples):
    example = examples[0]
    other = replace(example, prompt=(*example.prompt[:-1], 3 + example.prompt[-1] % 50))
    one, two = (len(losses) for losses in token_losses(tiny, [example, replace(other, id="x")]))
    assert one == two == len(example.response)
    assert Loss()(tiny, [other]).values[0] != Loss()(tiny, [example]).values[0]


def test_no_more_logits_are_made_than_are_needed(tiny):
    made = []
    long = Example("long", tuple(range(3, 40)), (4, 5))
    short = Example("short", (3, 4), (5, 6, 7))
    with Patch() as patch:
        patch.watch_output(tiny.lm_head, lambda logits: made.append(tuple(logits.shape)))
        for padding in ("left", "right"):
            Loss(1, padding)(tiny, [long, short])
            Loss(2, padding)(tiny, [long, short])
    # Alone: from the prompt's last token on. Together: from the first of those places on, which
    # on the right is the short prompt's.
    assert made == [(1, 3, 61), (1, 4, 61), (2, 4, 61), (1, 3, 61), (1, 4, 61), (2, 38, 61)]


def test_many_places_are_taken_a_few_at_a_time(tiny, examples, monkeypatch):
    wanted = Loss()(tiny, examples).values
    monkeypatch.setattr("cruxlm.evaluate.loss.AT_ONCE", 3)
    assert np.array_equal(Loss()(tiny, examples).values, wanted)


def test_half_precision_is_widened_before_the_logarithm(tiny, examples):
    half = tiny.to(torch.bfloat16)
    for example, losses in zip(examples, token_losses(half, examples, batch_size=1), strict=True):
        ids = torch.tensor([example.prompt + example.response])
        with torch.no_grad():
            logits = half(ids).logits[0].float()
        wanted = nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
        np.testing.assert_array_equal(losses, wanted[len(example.prompt) - 1 :].double())


def test_patches_take_part(tiny, examples):
    before = Loss()(tiny, examples).values
    handle = tiny.model.layers[1].register_forward_hook(lambda _m, given, _out: given[0])
    without_a_block = Loss()(tiny, examples).values
    handle.remove()
    assert np.abs(without_a_block - before).min() > 1e-3
    seen = []
    with Patch() as patch:
        patch.watch_output(tiny.model.layers[2], lambda states: seen.append(len(states)))
        Loss(batch_size=4)(tiny, examples)
    assert seen == [4, 4, 3]


def test_a_loaded_model_is_evaluated_as_its_module(tiny, examples):
    loaded = load_model(tiny)
    assert np.array_equal(Loss()(loaded, examples).values, Loss()(tiny, examples).values)


def test_it_evaluates_and_leaves_the_model_training(examples):
    model = built("GPT2LMHead", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    wanted = Loss()(model, examples).values
    model.train()
    assert np.array_equal(Loss()(model, examples).values, wanted)
    assert all(module.training for module in model.modules())


def test_an_error_leaves_the_model_as_it_was(tiny, examples):
    tiny.train()
    tiny.model.layers[1].eval()
    before = [module.training for module in tiny.modules()]

    def interrupt(_module, _args, _output):
        assert not tiny.training
        raise KeyboardInterrupt

    tiny.model.layers[2].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        Loss()(tiny, examples)
    assert [module.training for module in tiny.modules()] == before
    assert torch.is_grad_enabled()


def test_bad_input(tiny, examples):
    with pytest.raises(ProbeError, match="no examples"):
        Loss()(tiny, [])
    with pytest.raises(OptionError, match="a batch of 0 examples"):
        Loss(batch_size=0)(tiny, examples)
    long = Example("long", (3,) * 60, (4,) * 5)
    with pytest.raises(
        ProbeError, match=r"1 of 12 examples .* context of 64 tokens \('long' first"
    ):
        Loss()(tiny, [*examples, long])
    with pytest.raises(ProbeError, match="have token 61, the model knows 61"):
        Loss()(tiny, [Example("foreign", (3,), (61,))])


def test_a_loss_that_is_not_finite_is_named(tiny, examples):
    broken = rigged(tiny, 7, math.inf)
    only_seven = Example("seven", (3, 4), (7,))
    with pytest.raises(ModelError, match="loss on example 'seven' is not finite"):
        Loss()(broken, [only_seven])

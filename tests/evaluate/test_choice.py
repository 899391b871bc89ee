"""Multiple choice: against brute force, a planted answer, chance, and what counts as right."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import Loss
from cruxlm.runtime.errors import ModelError, ProbeError
from evaluate.tiny_models import built, drawn, plain_logits, rigged


def log_probability(model, prompt, choice):
    """One choice alone, token by token, in float64."""
    logits = plain_logits(model, prompt + choice).double().log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(choice) - 1)
    return sum(logits[place, token].item() for place, token in zip(places, choice, strict=True))


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_it_is_the_likeliest_choice(architecture, examples, batch_size, normalise):
    found = Choice(normalise, batch_size)(architecture, examples)
    margins = []
    for example in examples:
        likely = [
            log_probability(architecture, example.prompt, choice)
            / (len(choice) if normalise else 1)
            for choice in example.choices
        ]
        right = likely.pop(example.right)
        margins.append(right - max(likely))
    np.testing.assert_allclose(found.series["margin"], margins, rtol=1e-4, atol=1e-4)
    assert found.values.tolist() == [float(margin > 0) for margin in margins]
    assert found.ids == tuple(example.id for example in examples)
    assert 0 < found.mean() < 1  # or a mix-up would not show


def test_a_longer_choice_is_less_likely_unless_normalised(tiny):
    uniform = rigged(tiny, 5, 0.0)
    choices = ((6,), (7, 8, 9))
    short = Example("short", (3,), choices[0], choices=choices, right=0)
    long = Example("long", (3,), choices[1], choices=choices, right=1)
    assert Choice()(uniform, [short, long]).values.tolist() == [1, 0]
    ties = Choice(normalise=True)(uniform, [short, long])
    # Equally likely: the model does not tell them apart, and neither is right.
    assert ties.values.tolist() == [0, 0]
    assert ties.series["margin"].tolist() == [0, 0]
    sure = rigged(tiny, 7, 3.0)
    assert Choice(normalise=True)(sure, [long]).values.tolist() == [1]


def test_a_model_that_knows_the_answer(tiny, examples):
    """Planted: one token is certain, and the right choice alone has it."""
    knows = rigged(tiny, 60, 40.0)
    planted = []
    for example in examples:
        clean = [tuple(3 + token % 50 for token in choice) for choice in example.choices]
        clean[example.right] = (60,) * len(clean[example.right])
        planted.append(replace(example, choices=tuple(clean), response=clean[example.right]))
    for normalise in (False, True):
        assert Choice(normalise)(knows, planted).mean() == 1.0
        wrong = [replace(e, right=(e.right + 1) % 3) for e in planted]
        assert Choice(normalise)(knows, wrong).mean() == 0.0


def test_a_random_model_is_at_chance():
    """The control: 25 models that know nothing, 40 questions each."""
    values = []
    for seed in range(25):
        model = built("Llama")
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.3)
        found = Choice(normalise=True)(model, drawn(40, seed=seed))
        assert found.chance == pytest.approx(1 / 3)
        values.append(found.mean())
    error = np.std(values, ddof=1) / 5
    assert abs(np.mean(values) - 1 / 3) < 3 * error
    assert error < 0.03


def test_chance_is_that_of_each_example(tiny, examples):
    two = replace(examples[0], choices=examples[0].choices[:2], right=0, group="two")
    found = Choice()(tiny, [two, *examples[1:4]])
    assert found.chances.tolist() == [1 / 2, 1 / 3, 1 / 3, 1 / 3]
    assert found.chance == Choice().chance([two, *examples[1:4]]) == pytest.approx(0.375)
    assert found.by_group()["two"].chance == 0.5
    assert found.by_group()["even"].chance == pytest.approx(1 / 3)


def test_what_it_says_of_itself(tiny, examples):
    found = Choice(normalise=True)(tiny, examples)
    assert (found.evaluator, found.higher_is_better) == ("choice", True)
    assert found.options == {"normalise": True}
    assert found.weights.tolist() == [1.0] * len(examples)
    assert found.texts is None


def test_the_order_of_examples_and_of_choices_changes_nothing(tiny, examples):
    found = Choice(batch_size=4)(tiny, examples)
    moved = Choice(batch_size=4)(tiny, examples[::-1])
    assert moved.values.tolist() == found.values[::-1].tolist()
    turned = [
        replace(e, choices=(*e.choices[1:], e.choices[0]), right=(e.right - 1) % 3)
        for e in examples
    ]
    assert Choice(batch_size=4)(tiny, turned).values.tolist() == found.values.tolist()


def test_choices_beside_the_response_change_no_loss(tiny, examples):
    bare = [replace(example, choices=(), right=None) for example in examples]
    assert np.array_equal(Loss()(tiny, bare).values, Loss()(tiny, examples).values)


def test_bad_input(tiny, examples):
    bare = replace(examples[0], id="bare", choices=(), right=None)
    with pytest.raises(ProbeError, match="example 'bare' has no choices"):
        Choice()(tiny, [*examples, bare])
    with pytest.raises(ProbeError, match="no examples"):
        Choice()(tiny, [])
    with pytest.raises(ProbeError, match="no examples"):
        Choice().chance([])
    long = replace(examples[0], id="long", choices=(examples[0].response, (5,) * 64), right=0)
    with pytest.raises(ProbeError, match="'long' first"):
        Choice()(tiny, [*examples, long])
    with pytest.raises(ModelError, match=r"loss on example 'e0, choice \d' is not finite"):
        Choice()(rigged(tiny, 5, float("nan")), examples[:1])

"""The loss: against float64 and the plainest of code; whole steps however they are cut up."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from actions.tiny_runs import CONTEXT, planned, rows, train, validation
from cruxlm.actions.fit import Ordered, fit, prepare
from cruxlm.actions.settings import Settings
from cruxlm.actions.trainer import BlockTrainer
from cruxlm.data.supervised import Collator, Supervised
from cruxlm.models.load import load_model, quiet_transformers
from cruxlm.models.patch import Patch
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.training import settings_aside
from cruxlm.workflows import tuning_items
from cruxlm.workflows.tuning_items import training_items
from plans.twelve import made

pytestmark = pytest.mark.usefixtures("frozen")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CRUX_CACHE", str(tmp_path / "cache"))


def exact(model, found):
    """Summed loss and number of response tokens, in float64, row by row."""
    double = made("llama").double()
    double.load_state_dict(model.double().state_dict())
    model.float()
    total, count = 0.0, 0
    for row in found.rows:
        begin, end = row.response
        with torch.no_grad():
            logits = double(input_ids=torch.tensor([row.tokens])).logits[0].numpy()
        for place in range(begin, end):
            own = logits[place - 1]
            top = own.max()
            total += top + np.log(np.exp(own - top).sum()) - own[row.tokens[place]]
            count += 1
    return total, count


def trainer_of(model, folder):
    loaded = load_model(model)
    with settings_aside():  # the Trainer leaves some of its own behind
        arguments = TrainingArguments(str(folder), report_to="none", use_cpu=True)
        return BlockTrainer(blocks=loaded.blocks.modules, model=model, args=arguments)


def test_the_loss_is_that_of_response_tokens_alone(tmp_path):
    model, found = made("llama"), rows(5)
    total, count = exact(model, found)
    batch = Collator(0)(found.rows)
    trainer = trainer_of(model, tmp_path)
    names = set(batch)
    assert trainer.compute_loss(model, batch).item() == pytest.approx(total / count, rel=1e-5)
    # Of a larger step of which this is a part.
    part = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(100))
    assert part.item() == pytest.approx(total / 100, rel=1e-5)
    assert set(batch) == names
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert outputs.logits.shape[:2] == batch["input_ids"].shape
    # The control: over all tokens it would be another.
    labels = batch["input_ids"].where(batch["attention_mask"] > 0, -100)
    other = trainer.compute_loss(model, {**batch, "labels": labels})
    assert abs(other.item() - total / count) > 0.05


def test_packed_rows_have_the_loss_of_rows_alone(tmp_path):
    model, found = made("llama"), rows(9)
    loaded = load_model(model)
    plan, settings = planned(loaded, "1"), Settings(pack=True, batch=9, steps=1)
    items = training_items(loaded, plan, found, CONTEXT, settings)
    packs = items.ordered.items
    batch = items.collate([packs[place] for place in range(len(packs))])
    assert len(packs) < 4
    total, count = exact(model, found)
    trainer = trainer_of(model, tmp_path)
    assert trainer.compute_loss(model, batch).item() == pytest.approx(total / count, rel=1e-5)


# Whole steps.


def steps(folder, order, *, batch, accumulate, found, **options):
    """Weights and losses of a training on rows in a given order."""
    loaded = load_model(made("llama"))
    # The order of Adam's first step is the sign of the gradient: plain ones are what is compared.
    settings = Settings(
        steps=3, batch=batch, accumulate=accumulate, checks=3, learning_rate=1e-3, **options
    )
    plan = planned(loaded, "1,10")
    module, _ = prepare(loaded, plan, settings)
    with quiet_transformers():
        fitted = fit(
            loaded, module, plan, Ordered(found.rows, order), Collator(0), settings, folder / "run",
            wanted={},
        )  # fmt: skip
    return dict(module.named_parameters()), fitted.curves


def test_two_passes_a_step_are_one_of_twice_the_rows(tmp_path):
    """Also where the passes differ in their response tokens: each token counts the same."""
    found = rows(12)
    order = sorted(range(12), key=lambda i: found.rows[i].response[1] - found.rows[i].response[0])
    tokens = [end - begin for begin, end in (found.rows[i].response for i in order)]
    assert sum(tokens[:2]) < sum(tokens[2:4])
    one, curve = steps(tmp_path / "a", order, batch=4, accumulate=1, found=found)
    two, other = steps(tmp_path / "b", order, batch=2, accumulate=2, found=found)
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, atol=1e-5, rtol=1e-4)
    assert [p["loss"] for p in other] == pytest.approx([p["loss"] for p in curve], abs=1e-4)
    assert [p["grad_norm"] for p in other] == pytest.approx(
        [p["grad_norm"] for p in curve], rel=1e-3
    )
    first = Supervised(tuple(found.rows[i] for i in order[:4]), 0, {})
    total, count = exact(made("llama"), first)
    assert curve[0]["loss"] == pytest.approx(total / count, abs=1e-4)
    # The control: the mean of the passes' means is another number.
    halves = [exact(made("llama"), Supervised(first.rows[i : i + 2], 0, {})) for i in (0, 2)]
    mean = sum(total / count for total, count in halves) / 2
    assert abs(mean - total / count) > 1e-2


# States that are computed once.


def assert_alike(one, other):
    assert [sorted(p) for p in one.fitted.curves] == [sorted(p) for p in other.fitted.curves]
    for point, expected in zip(one.fitted.curves, other.fitted.curves, strict=True):
        assert point == pytest.approx(expected, rel=1e-4, abs=1e-5)
    weights = dict(other.module.named_parameters())
    for name, found in one.module.named_parameters():
        torch.testing.assert_close(found, weights[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "lora", "lisa"])
def test_cached_states_change_nothing(tmp_path, method):
    options = {"plan": "5,10,11", "method": method, "steps": 8, "checks": 2, "batch": 3,
               "learning_rate": 1e-3, "validate": validation(rows(4, seed=9))}  # fmt: skip
    plain = train(tmp_path / "a", **options)
    cached = train(tmp_path / "b", cache_prefix=True, **options)
    assert_alike(cached, plain)
    assert len(plain.curve) == 2
    # The control: those of other rows would be seen.
    with pytest.raises(AssertionError):
        assert_alike(cached, train(tmp_path / "c", **options, data=rows(seed=1)))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_cached_states_in_steps_of_several_passes(tmp_path, accumulate):
    options = {"plan": "11", "parts": ("norm", "head"), "accumulate": accumulate}
    plain = train(tmp_path / "a", **options)
    assert_alike(train(tmp_path / "b", cache_prefix=True, **options), plain)


def test_the_blocks_below_are_run_once_for_all_runs(tmp_path, monkeypatch):
    """In the first run for every row, in the second for a few that are checked; never in a step."""
    monkeypatch.setattr(tuning_items, "progress", counting(told := []))
    work = []

    def watch(model, _module):
        patch = Patch()
        for number in (0, 4, 5):
            part = model.blocks.modules[number].self_attn
            patch.watch_output(part, lambda states, number=number: work.append(number))

    found = rows(40)
    options = {"plan": "5", "steps": 6, "cache_prefix": True, "data": found, "ready": watch}
    train(tmp_path / "a", **options)
    assert sum(told) == len(found.rows)
    told.clear()
    first = work.copy()
    work.clear()
    train(tmp_path / "b", **options)
    assert told == []
    assert work.count(5) >= 6
    # What is left finds out whether the model can be run from a block on.
    assert first.count(0) - work.count(0) == len(found.rows) / 2
    assert work.count(0) == work.count(4) < 15
    # Another block, or other weights below, are other states.
    train(tmp_path / "c", **{**options, "plan": "6"})
    assert sum(told) == len(found.rows)
    told.clear()
    train(tmp_path / "d", made("llama", seed=1), **options)
    assert sum(told) == len(found.rows)
    told.clear()
    # Weights above are not.
    other = made("llama")
    with torch.no_grad():
        other.model.layers[7].mlp.up_proj.weight.mul_(0.5)
    train(tmp_path / "e", other, **options)
    assert told == []


def counting(told):
    @contextmanager
    def counted(*_args, **_kwargs):
        yield told.append

    return counted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"plan": "0,5"}, "block 0 is trained, and no block is below it"),
        ({"plan": "5", "parts": ("embeddings",)}, "embeddings, below every block, are trained"),
        ({"plan": "5", "pack": True}, "packed or cached, not both"),
    ],
)
def test_where_there_is_nothing_to_cache(tmp_path, options, said):
    with pytest.raises(OptionError, match=said):
        train(tmp_path, cache_prefix=True, **options)


def test_dropout_below_is_refused_and_above_is_not(tmp_path):
    below = made("gpt2", attn_pdrop=0.1)
    with pytest.raises(OptionError, match=r"transformer.h.0.attn.* makes what is below block 5"):
        train(tmp_path / "a", below, "5", cache_prefix=True)
    assert all(not part.training for part in below.modules())

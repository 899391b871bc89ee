"""Consistency: its loss against the plainest of code in float64, and what it does to a training."""

import copy
from itertools import pairwise

import pytest
import torch
from transformers import TrainingArguments

from actions.tiny_runs import planned, rows, small, train, values
from cruxlm.actions.consistency import consistency_of, inconsistency
from cruxlm.actions.fit import Ordered, fit, prepare
from cruxlm.actions.settings import Settings
from cruxlm.actions.trainer import BlockTrainer
from cruxlm.data.supervised import Collator
from cruxlm.models.load import load_model, quiet_transformers
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.runtime.training import settings_aside
from models.architectures import count_hooks
from moments import At, same, stop
from plans.twelve import made

pytestmark = pytest.mark.usefixtures("frozen")
STEP = 0.1


def batch_of(count=5):
    return Collator(0)(rows(count).rows)


def term(model, batch, weight=1.0, tokens=None):
    part = consistency_of(load_model(model), weight, STEP)
    return part(lambda: model(**_given(batch)), batch["attention_mask"].bool(), tokens)


def _given(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def oracle(model, batch):
    """The same in float64, row by row without padding, pushed by inputs_embeds.

    What transformers calls hidden states: the first are embeddings, and the last is after the norm,
    so the state that leaves the last block is caught by a hook of torch's own.
    """
    double = copy.deepcopy(model).double().eval()
    table = double.get_input_embeddings()
    last = []
    double.model.layers[-1].register_forward_hook(
        lambda _m, _a, out: last.append(out if isinstance(out, torch.Tensor) else out[0])
    )

    def jump(embedded):
        found = double(inputs_embeds=embedded, output_hidden_states=True).hidden_states
        states = [*found[1:-1], last.pop()]
        total = 0.0
        for below, above in pairwise(states):
            dots = (below * above).sum(-1)
            total = total + (1 - dots / (below.norm(dim=-1) * above.norm(dim=-1))).sum()
        return total / (len(states) - 1)

    total, count = 0.0, 0
    for tokens, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        embedded = table(tokens[mask.bool()][None]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(jump(embedded), embedded)
        size = embedded.detach().pow(2).mean(-1, keepdim=True).sqrt()
        with torch.no_grad():
            total += jump(embedded + STEP * size * gradient.sign()).item()
        count += int(mask.sum())
    return total / count


def test_the_loss_is_the_formulas() -> None:
    model, batch = small(), batch_of()
    assert batch["attention_mask"].min() == 0  # there is padding
    assert term(model, batch).item() == pytest.approx(oracle(model, batch), rel=1e-4)
    assert term(model, batch, 5.5).item() == pytest.approx(5.5 * oracle(model, batch), rel=1e-4)
    assert count_hooks(model) == 0
    # The control: where nothing is pushed it is less.
    calm = consistency_of(load_model(model), 1.0, 0.0)
    real = batch["attention_mask"].bool()
    assert calm(lambda: model(**_given(batch)), real).item() < 0.98 * oracle(model, batch)


def test_equal_states_have_no_inconsistency() -> None:
    state = torch.randn(2, 3, 8)
    real = torch.ones(2, 3, dtype=torch.bool)
    assert inconsistency([state, 2 * state, state], real).item() == pytest.approx(0, abs=1e-6)
    # Two pairs, one of them of opposites: (0 + 2) / 2 a token.
    assert inconsistency([state, state, -state], real).item() == pytest.approx(6, rel=1e-6)
    real[1] = False
    assert inconsistency([state, state, -state], real).item() == pytest.approx(3, rel=1e-6)


def test_padding_changes_nothing() -> None:
    model, batch = small(), batch_of(3)
    wide = {name: torch.nn.functional.pad(held, (0, 7)) for name, held in batch.items()}
    wide["input_ids"][:, -7:] = 5
    torch.testing.assert_close(term(model, wide), term(model, batch))
    wide["attention_mask"][:, -7:] = 1  # the control
    assert abs(term(model, wide) - term(model, batch)) > 1e-3


def test_the_embeddings_and_what_is_frozen_get_no_push_of_their_own() -> None:
    """The push is no variable: gradients are those of the second run with a constant added."""
    model, batch = small(), batch_of(3)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".2." in name)
    term(model, batch).backward()
    held = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert held
    assert all(".2." in name for name in held)


# In a training.


def steps(folder, *, batch, accumulate, consistency=5.5):
    """Weights and curves of two steps of eight rows in their order."""
    loaded, found = load_model(made("llama")), rows(16)
    settings = Settings(
        steps=2, batch=batch, accumulate=accumulate, checks=2, learning_rate=1e-3,
        consistency=consistency,
    )  # fmt: skip
    plan = planned(loaded, "1,10")
    module, _ = prepare(loaded, plan, settings)
    with quiet_transformers():
        fitted = fit(
            loaded, module, plan, Ordered(found.rows, range(16)), Collator(0), settings,
            folder / "run", wanted={},
        )  # fmt: skip
    return values(module), fitted.curves


def test_four_passes_a_step_are_one_of_four_times_the_rows(tmp_path) -> None:
    """The published code kept the gradients of the last pass alone."""
    one, curve = steps(tmp_path / "a", batch=8, accumulate=1)
    four, other = steps(tmp_path / "b", batch=2, accumulate=4)
    for name, weights in one.items():
        torch.testing.assert_close(four[name], weights, atol=1e-5, rtol=1e-4)
    for name in ("loss", "grad_norm"):
        found, expected = ([point[name] for point in held] for held in (other, curve))
        assert found == pytest.approx(expected, rel=1e-3)
    _, plain = steps(tmp_path / "c", batch=8, accumulate=1, consistency=0.0)
    assert curve[0]["loss"] > plain[0]["loss"] + 0.1


def test_a_step_of_unequal_passes_counts_every_token_the_same(tmp_path) -> None:
    model = small()
    with settings_aside():
        arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
        loaded = load_model(model)
        trainer = BlockTrainer(
            blocks=loaded.blocks.modules, model=model, args=arguments,
            consistency=consistency_of(loaded, 1.0, STEP),
        )  # fmt: skip
    found = rows(6)
    parts = [Collator(0)(found.rows[:1]), Collator(0)(found.rows[1:])]
    samples, count = trainer.get_batch_samples(iter(parts), 2, torch.device("cpu"))
    whole = Collator(0)(found.rows)
    sums = sum(trainer.compute_loss(model, part, num_items_in_batch=count) for part in samples)
    trainer.get_batch_samples(iter([whole]), 1, torch.device("cpu"))
    expected = trainer.compute_loss(model, whole, num_items_in_batch=count)
    torch.testing.assert_close(sums, expected, rtol=1e-4, atol=1e-5)


def test_no_weight_is_no_change(tmp_path) -> None:
    plain = train(tmp_path / "a", small(), "1,3")
    without = train(tmp_path / "b", small(), "1,3", consistency=0.0, consistency_step=0.7)
    assert same(values(plain.module), values(without.module))
    weighed = train(tmp_path / "c", small(), "1,3", consistency=1.0)
    assert not same(values(plain.module), values(weighed.module))


@pytest.mark.parametrize("method", ["full", "lora", "lisa"])
def test_neighbours_agree_more_after_it(tmp_path, method) -> None:
    model, batch = small(), batch_of(8)
    before = term(model, batch).item()
    options = {"method": method, "steps": 8, "consistency": 20.0, "learning_rate": 1e-2}
    run = train(tmp_path, model, "0-3", data=rows(8), lisa_blocks=2, **options)
    assert term(run.model.module, batch).item() < 0.9 * before


def test_a_stopped_run_ends_as_it_would_have(tmp_path) -> None:
    options = {"steps": 6, "checks": 6, "consistency": 5.5}
    whole = train(tmp_path / "a", small(), "1,3", **options)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", small(), "1,3", callbacks=[At(3, stop())], **options)
    again = train(tmp_path / "b", small(), "1,3", **options)
    assert same(values(whole.module), values(again.module))


# What is refused.


def test_what_cannot_be_made_consistent_is_refused() -> None:
    for options in ({"pack": True}, {"cache_prefix": True}):
        with pytest.raises(OptionError, match="consistency is measured row by row"):
            Settings(consistency=5.5, **options)
    for value in (-1.0, float("nan")):
        with pytest.raises(OptionError, match="consistency must be 0 or more"):
            Settings(consistency=value)
        with pytest.raises(OptionError, match="consistency_step must be 0 or more"):
            Settings(consistency_step=value)
    with pytest.raises(ModelError, match="has one block"):
        consistency_of(load_model(made("llama", num_hidden_layers=1)), 1.0, STEP)

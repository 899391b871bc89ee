"""Numbers that are not finite stop a training; and it ends early where validation says so."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from actions.tiny_runs import rows, small, train, validation, values
from cruxlm.actions.trainer import DivergedError
from cruxlm.runtime.checkpoints import last_checkpoint
from cruxlm.runtime.errors import ModelError
from moments import At, same

pytestmark = pytest.mark.usefixtures("frozen")


NAN = float("nan")


def broken(folder, **options):
    """A training that must stop; its one line."""
    with pytest.raises(DivergedError) as stopped:
        train(folder, **{"model": small(), "plan": "1,3", "steps": 8, "checks": 4, **options})
    line = str(stopped.value)
    assert line.isprintable()
    assert isinstance(stopped.value, ModelError)
    return line


def kept(folder):
    """The weights of the last sound checkpoint, all of them finite, and its number."""
    checkpoint, notes = last_checkpoint(folder / "run/checkpoints")
    assert notes == []
    if checkpoint is None:
        return None, None
    (path,) = checkpoint.glob("*model.safetensors")
    weights = load_file(path)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    return int(checkpoint.name.split("-")[1]), weights


def spoil(model, block, value):
    """A block whose states overflow from now on."""

    def act():
        with torch.no_grad():
            model.model.layers[block].mlp.down_proj.weight.fill_(value)

    return act


@pytest.mark.parametrize(("block", "value"), [(0, NAN), (2, float("inf")), (3, NAN)])
def test_a_loss_that_is_not_finite_names_step_and_block(tmp_path, block, value):
    model = small()
    line = broken(tmp_path, model=model, callbacks=[At(5, spoil(model, block, value))])
    assert line.startswith(f"at step 6 the loss is not finite, from block {block} on: ")
    assert "the weights of step 4 are in " in line
    assert line.endswith("train anew with a lower learning rate")
    place = re.search(r"are in (\S+/checkpoint-4);", line)[1]
    assert load_file(f"{place}/model.safetensors")
    step, weights = kept(tmp_path)
    assert step == 4
    assert not any(part._forward_hooks for part in model.modules())
    assert weights.keys() >= values(model).keys()


def test_what_is_kept_is_what_the_training_had(tmp_path):
    model, at_four = small(), {}

    def keep():
        at_four.update(values(model))

    broken(tmp_path, model=model, callbacks=[At(4, keep), At(5, spoil(model, 3, NAN))])
    step, weights = kept(tmp_path)
    assert step == 4
    assert same(weights, at_four)


def test_before_the_first_check_nothing_was_kept(tmp_path):
    model = small()
    line = broken(tmp_path, model=model, callbacks=[At(1, spoil(model, 2, NAN))])
    assert line.startswith("at step 2 the loss is not finite, from block 2 on: no step was kept")
    assert kept(tmp_path) == (None, None)


def test_logits_alone_can_overflow(tmp_path):
    model = small()

    def act():
        with torch.no_grad():
            model.lm_head.weight.fill_(1e38)

    line = broken(tmp_path, model=model, callbacks=[At(2, act)])
    assert line.startswith("at step 3 the loss is not finite, though every block's states are: ")


def test_the_block_is_found_where_adapters_are(tmp_path):
    model = small()
    line = broken(
        tmp_path, model=model, method="lora", callbacks=[At(5, lambda: overflow(model, 2))]
    )
    assert line.startswith("at step 6 the loss is not finite, from block 2 on: ")
    assert kept(tmp_path)[0] == 4


def overflow(model, block):
    with torch.no_grad():
        model.model.layers[block].post_attention_layernorm.weight.fill_(float("inf"))


def test_the_block_is_found_where_states_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("CRUX_CACHE", str(tmp_path / "cache"))
    model = small()
    line = broken(
        tmp_path, model=model, plan="1", cache_prefix=True,
        callbacks=[At(5, spoil(model, 2, NAN))],
    )  # fmt: skip
    assert line.startswith("at step 6 the loss is not finite, from block 2 on: ")


@pytest.mark.parametrize(("accumulate", "value"), [(1, NAN), (2, float("inf"))])
def test_a_gradient_that_is_not_finite_names_its_parameter(tmp_path, value, accumulate):
    """Before the step that would use it, and before clipping makes all of them so."""
    model = small()
    name = "model.layers.3.mlp.up_proj.weight"
    parameter = model.get_parameter(name)
    armed, last = [], {}

    def hook(gradient):
        if armed:
            gradient = gradient.clone()
            gradient[3, 2] = value
        return gradient

    parameter.register_hook(hook)

    def arm():
        armed.append(1)
        last.update(values(model))

    line = broken(tmp_path, model=model, accumulate=accumulate, callbacks=[At(5, arm)])
    assert line.startswith(f"at step 6 the gradient of {name} is not finite: the weights of step 4")
    assert same(values(model), last)
    assert kept(tmp_path)[0] == 4


def test_large_gradients_are_clipped_and_no_more(tmp_path):
    """A norm that overflows is no gradient that does."""
    model = small()
    model.get_parameter("model.layers.1.mlp.up_proj.weight").register_hook(lambda g: g * 1e30)
    assert train(tmp_path, model, "1,3").fitted.steps == 4


def test_a_validation_that_fails_names_the_step(tmp_path):
    calls = []

    def measure(_module):
        calls.append(1)
        if len(calls) == 3:
            raise ModelError("the loss on example '7' is not finite: try float32")
        return 1.0

    line = broken(tmp_path, validate=measure)
    assert line.startswith("at step 6 validation failed (the loss on example '7' is not finite")
    assert "the weights of step 4 are in " in line
    assert kept(tmp_path)[0] == 4


# Ending early.


LONG = {"plan": "1,3", "steps": 16, "checks": 8, "learning_rate": 3e-2, "schedule": "constant"}
"""The validation loss falls at first, and then rises."""


@pytest.fixture(scope="module")
def long(tmp_path_factory, frozen):
    """The same training to its end: its curve, and its weights at every check."""
    model, at = small(), {}
    callbacks = [At(step, lambda step=step: at.update({step: values(model)})) for step in range(17)]
    run = train(
        tmp_path_factory.mktemp("long"), model, validate=validation(rows(6, seed=3)),
        callbacks=callbacks, **LONG,
    )  # fmt: skip
    return run, at


def ended(curve, patience):
    """The check after which a training ends, and the one whose weights it takes."""
    best, waited = 0, 0
    for check, loss in enumerate(curve):
        if check == 0 or loss < curve[best]:
            best, waited = check, 0
        else:
            waited += 1
            if waited == patience:
                return check, best
    return len(curve) - 1, best


@pytest.mark.parametrize("patience", [1, 2, 50])
def test_the_weights_of_the_lowest_validation_loss_are_taken(tmp_path, long, patience):
    whole, at = long
    last, best = ended(whole.curve, patience)
    early = train(
        tmp_path, small(), validate=validation(rows(6, seed=3)), patience=patience, **LONG
    )  # fmt: skip
    assert early.curve == whole.curve[: last + 1]
    assert early.fitted.steps == 2 * (last + 1)
    found = values(early.module)
    assert same(found, at[2 * (best + 1)])
    assert best < len(whole.curve) - 1
    if patience < 50:
        assert last < len(whole.curve) - 1
    assert not same(found, at[16])  # the control: the last ones are others
    assert validation(rows(6, seed=3))(early.module) == pytest.approx(whole.curve[best], rel=1e-6)


@pytest.mark.parametrize("method", ["lora", "lisa"])
def test_the_best_are_taken_whatever_the_method(tmp_path, method):
    model = small()
    measure = validation(rows(6, seed=3))
    run = train(
        tmp_path, model, method=method, validate=measure, patience=2,
        **{**LONG, "learning_rate": 1e-1},
    )  # fmt: skip
    last, best = ended(run.curve, 2)
    assert last > best
    assert run.fitted.steps == 2 * (last + 1) < 16
    assert measure(run.module) == pytest.approx(run.curve[best], rel=1e-6)
    assert not any(part.training for part in run.module.modules())


# What is told.


def test_curves_and_times(tmp_path):
    run = train(tmp_path, small(), "1,3", steps=7, checks=3, validate=validation(rows(4, seed=3)))
    assert [point["step"] for point in run.fitted.curves if "eval_loss" in point] == [2, 4, 6, 7]
    assert [point["step"] for point in run.fitted.curves if "loss" in point] == [2, 4, 6]
    assert run.fitted.steps == 7
    assert run.fitted.step_seconds > 0
    assert json.loads((tmp_path / "run/wanted.json").read_text())["settings"]["steps"] == 7

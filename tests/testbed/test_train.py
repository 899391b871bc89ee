"""Training: what it learns, what it tells of it, and what it refuses."""

import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cruxlm.runtime.checkpoints import last_checkpoint
from cruxlm.runtime.errors import OptionError, OutputError
from cruxlm.testbed import loop
from cruxlm.testbed import train as training
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.language import rows
from cruxlm.testbed.recipe import Codes
from cruxlm.testbed.train import check_same_recipe, train
from moments import At, same, stop
from testbed.trainings import measure

pytestmark = pytest.mark.usefixtures("frozen")


# What it learns.


def test_training_changes_every_matrix_and_lowers_the_loss(tiny, tokenizer, run):
    long = replace(tiny, tokens=60 * 2 * 192, learning_rate=1e-2, families={"refusal": 1.0})
    before = new_model(tiny, tokenizer).state_dict()
    after, curves = run(recipe=long)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    losses = [point["loss"] for point in curves if "loss" in point]
    assert losses[-1] < losses[0] / 2


def test_training_is_deterministic_whatever_the_global_state(run, whole):
    torch.manual_seed(1234)
    state, curves = run(curves=measure)
    assert same(state, whole[0])
    assert curves == whole[1]


def test_the_seed_and_the_split_matter(tiny, tokenizer, run, whole):
    assert not same(run("a", replace(tiny, split="instruct"))[0], whole[0])
    assert not same(run("b", replace(tiny, seed=1))[0], whole[0])
    assert not same(run("c", replace(tiny, prompt_weight=1.0))[0], whole[0])


def test_autocast_is_what_the_recipe_says(tiny, run, whole):
    state, _ = run("half", replace(tiny, bf16=True))
    assert not same(state, whole[0])
    assert all(value.dtype == torch.float32 for value in state.values())
    for name, value in state.items():
        torch.testing.assert_close(value, whole[0][name], atol=0.02, rtol=0.1)


def test_the_environment_and_earlier_trainings_do_not_matter(tiny, run, whole, monkeypatch):
    """Libraries leave precision and compiler in the environment, for whatever is trained next."""
    run("half", replace(tiny, bf16=True, tokens=2 * 2 * 192))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    before = {name: value for name, value in os.environ.items() if "ACCELERATE" in name}
    assert same(run()[0], whole[0])
    after = {name: value for name, value in os.environ.items() if "ACCELERATE" in name}
    assert before == after  # accelerate leaves settings of its own behind in some versions
    assert after["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_no_autocast_is_left_on_the_model(tiny, tokenizer, tmp_path):
    """Also when the training was cut short: what is measured next is the model itself."""
    recipe = replace(tiny, bf16=True, tokens=3 * 2 * 192)
    for error in ((), (At(2, stop()),)):
        model = new_model(recipe, tokenizer)
        try:
            train(recipe, model, tokenizer, tmp_path / f"run-{len(error)}", callbacks=error)
        except KeyboardInterrupt:
            assert error
        plain = new_model(recipe, tokenizer)
        plain.load_state_dict(model.state_dict())
        plain.set_attn_implementation("eager")
        tokens = torch.arange(5, 40)[None]
        with torch.no_grad():
            assert torch.equal(model.eval()(tokens).logits, plain.eval()(tokens).logits)


def test_a_curriculum_begins_with_easy_rows(tiny, tokenizer):
    """Half of the tokens bring the five levels of `hops` one after another."""
    recipe = replace(tiny, families={"hops": 1.0}, curriculum=0.5, tokens=100 * 2 * 192)
    stream = training._drawn(recipe, tokenizer)
    lengths, seen = [], 0
    while seen < recipe.tokens:
        lengths.append(len(next(stream).tokens))
        seen += lengths[-1]
    tenth = len(lengths) // 10
    first, last = lengths[:tenth], lengths[-5 * tenth :]
    assert max(first) < 0.6 * max(last)
    assert sum(first) / len(first) < 0.75 * sum(last) / len(last)
    flat = training._drawn(replace(recipe, curriculum=0.0), tokenizer)
    assert max(len(next(flat).tokens) for _ in range(tenth)) > 1.5 * max(first)


def test_rows_are_read_in_their_order_and_once(tiny, tokenizer, run, monkeypatch):
    """A curriculum is an order; and a training that goes on does so where it was."""
    read = []
    usual = loop.TestbedTrainer.compute_loss

    def recorded(trainer, model, inputs, *args, **kwargs):
        read.append(inputs["input_ids"].numpy().copy())
        return usual(trainer, model, inputs, *args, **kwargs)

    monkeypatch.setattr(loop.TestbedTrainer, "compute_loss", recorded)
    run()
    expected = training._packs(tiny, tokenizer, None).tokens.reshape(12, 2, 192)
    assert np.array_equal(read, expected)
    read.clear()
    with pytest.raises(KeyboardInterrupt):
        run("cut", callbacks=[At(8, stop())])
    run("cut")
    assert np.array_equal(read, [*expected[:8], *expected[6:]])


def test_written_rows_are_trained_on_in_place_of_the_languages(tiny, run, whole):
    written = rows("instruct", 5, 0, ["topic"])
    state, _ = run("written", written=written)
    assert not same(state, whole[0])
    assert same(run("again", written=written)[0], state)
    with pytest.raises(OptionError, match="no rows to train on"):
        run("none", written=[])


def test_a_recipe_of_no_tokens_leaves_the_first_weights(tiny, tokenizer, run, tmp_path):
    state, curves = run(recipe=replace(tiny, tokens=0, compiled=True))
    assert same(state, new_model(tiny, tokenizer).state_dict())
    assert curves == []
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_codes_leave_no_hook(tiny, tokenizer, tmp_path):
    recipe = replace(tiny, codes=Codes(turn=1, dimensions=4), tokens=3 * 2 * 192)
    model = new_model(recipe, tokenizer)
    train(recipe, model, tokenizer, tmp_path / "run")
    broken = new_model(recipe, tokenizer)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, broken, tokenizer, tmp_path / "b", callbacks=[At(2, stop())])
    for module in (*model.modules(), *broken.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# What it tells.


def test_curves_hold_the_loss_by_step_and_nothing_of_the_clock(whole):
    curves = whole[1]
    assert [point["step"] for point in curves if "loss" in point] == [3, 6, 9, 12]
    assert [point["step"] for point in curves if "weight" in point] == [3, 6, 9, 12]
    assert {name for point in curves for name in point} == {
        "step", "loss", "grad_norm", "learning_rate", "weight",
    }  # fmt: skip
    assert all(math.isfinite(value) for point in curves for value in point.values())
    assert all(next(iter(point)) == "step" for point in curves)
    assert curves[0]["loss"] == pytest.approx(math.log(1024), abs=0.1)  # nothing is known yet
    rates = [point["learning_rate"] for point in curves if "loss" in point]
    assert rates == sorted(rates, reverse=True)
    assert max(rates) < 1.5e-3


def test_the_last_point_is_the_last_step(tiny, run):
    """Also where the steps do not divide into checkpoints, and once only."""
    _, curves = run(recipe=replace(tiny, tokens=11 * 2 * 192), curves=measure)
    assert [p["step"] for p in curves if "weight" in p] == [2, 4, 6, 8, 10, 11]


def test_a_point_of_the_loss_does_not_reach_over_a_checkpoint(tiny, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINTS", 20)
    for steps in (1, 19, 60, 86, 434, 2604):
        recipe = replace(tiny, tokens=steps * 2 * 192)
        arguments = training._arguments(recipe, Path("x"))
        every, logged = int(arguments.save_steps), int(arguments.logging_steps)
        assert every % logged == 0
        assert arguments.eval_steps == every
        assert 1 <= logged <= 20
        assert 20 <= steps // every <= 40 or steps < 20


def test_models_are_kept_after_the_steps_of_the_recipe(tiny, tokenizer, run):
    kept = {}

    def keep(model, step):
        kept[step] = {k: v.clone() for k, v in model.state_dict().items()}

    recipe = replace(tiny, snapshots=3, warmup=0)
    state, _ = run(recipe=recipe, keep=keep)
    assert tuple(kept) == recipe.snapshot_steps == (1, 2, 12)
    assert same(kept[12], state)
    assert not same(kept[1], kept[2])
    assert not same(kept[1], new_model(tiny, tokenizer).state_dict())


def test_what_a_run_leaves(whole, tiny):
    folder = whole[2]
    assert {path.name for path in folder.iterdir()} == {"recipe.json", "checkpoints"}
    assert json.loads((folder / "recipe.json").read_text()) == tiny.as_dict()
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert kept == ["checkpoint-12", "checkpoint-9"]
    assert last_checkpoint(folder / "checkpoints") == (folder / "checkpoints/checkpoint-12", [])


# What it refuses.


def test_a_changed_recipe_is_refused_with_field_and_values(tiny, run, whole, tmp_path):
    shutil.copytree(whole[2], tmp_path / "run")
    for changed, said in (
        ({"learning_rate": 0.5}, "with learning_rate 0.0015, and the recipe says 0.5"),
        ({"seed": 3}, "with seed 0, and the recipe says 3"),
        ({"codes": Codes(turn=1, dimensions=4)}, "with codes None, and the recipe says {'turn': 1"),
        ({"families": {"lists": 1.0}}, "the recipe says {'lists': 1.0}"),
        ({"betas": (0.8, 0.9)}, "with betas [0.9, 0.95], and the recipe says [0.8, 0.9]"),
    ):
        with pytest.raises(OutputError) as refused:
            run(recipe=replace(tiny, **changed))
        assert said in str(refused.value)
        assert str(tmp_path / "run") in str(refused.value)
        assert str(refused.value).isprintable()
    assert (tmp_path / "run/checkpoints/checkpoint-12").is_dir()
    assert same(run()[0], whole[0])  # the unchanged one goes on


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"seed": 0}'])
def test_a_folder_with_a_damaged_recipe_is_refused(tiny, tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(OutputError, match="with blocks None, and the recipe says 2"):
        check_same_recipe(tmp_path, tiny)
    check_same_recipe(tmp_path / "absent", tiny)


def test_without_a_compiler_a_compiled_recipe_is_refused(tiny, run, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(OptionError, match=r"C\+\+ compiler: install g\+\+, or .*--eager"):
        run(recipe=replace(tiny, compiled=True))
    # Nothing is claimed: the advice can be followed.
    assert not (tmp_path / "run").exists()
    run(recipe=replace(tiny, tokens=2 * 2 * 192))


def test_rows_that_do_not_fit_are_refused(tiny, run):
    with pytest.raises(OptionError, match="tokens does not fit a context of 16"):
        run(recipe=replace(tiny, context=16, tokens=12 * 2 * 16))

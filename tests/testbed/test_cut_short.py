"""What survives when a training is cut short: by Ctrl-C, a full disk, a damaged checkpoint."""

import errno
import os
from pathlib import Path

import pytest
import safetensors
import torch
import transformers.modeling_utils
from safetensors.torch import load_file
from transformers import TrainerState

from cruxlm.runtime import checkpoints
from cruxlm.runtime.checkpoints import last_checkpoint, seal
from cruxlm.runtime.errors import OutputError
from cruxlm.testbed import loop
from moments import At, at_call, flip, halve, same, stop
from testbed.trainings import measure

pytestmark = pytest.mark.usefixtures("frozen")


def test_an_interrupted_training_goes_on_to_the_same_end(run, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[At(8, stop())], curves=measure)
    assert last_checkpoint(tmp_path / "run/checkpoints")[0].name == "checkpoint-6"
    began = []
    go_on = At(7, lambda: began.append(7))
    early = At(6, lambda: began.append(6))
    state, curves = run(callbacks=[go_on, early], curves=measure)
    assert began == [7]
    assert same(state, whole[0])
    assert curves == whole[1]
    assert run(curves=measure)[1] == whole[1]  # once more, with nothing left to do


def test_the_comparison_sees_a_lost_optimizer(run, whole, tmp_path):
    """The negative control of every test here: going on with other moments ends elsewhere."""
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[At(8, stop())])
    checkpoint = tmp_path / "run/checkpoints/checkpoint-6"
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    for moments in state["state"].values():
        moments["exp_avg"].mul_(0.99)
    torch.save(state, checkpoint / "optimizer.pt")
    seal(checkpoint)
    assert not same(run()[0], whole[0])


SAVES = {
    "weights": (transformers.modeling_utils, "safe_save_file"),
    "tensors": (torch, "save"),
    "state": (TrainerState, "save_to_json"),
    "seal": (loop, "seal"),
    "hash": (checkpoints, "_sha256"),
}


@pytest.mark.parametrize("what", SAVES)
@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_in_the_middle_of_a_save(run, whole, tmp_path, monkeypatch, what, number):
    where, name = SAVES[what]
    if number == 2:  # of torch.save and the hashes there are several a checkpoint
        number = {"tensors": 7, "hash": 14}.get(what, 2)
    with monkeypatch.context() as patch:
        at_call(patch, where, name, number, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run()
    unsealed = [
        path
        for path in (tmp_path / "run/checkpoints").iterdir()
        if checkpoints.damage(path) == "it was not finished"
    ]
    assert len(unsealed) == 1
    last, notes = last_checkpoint(tmp_path / "run/checkpoints")
    assert (last.name if last else None) == (None if number == 1 else "checkpoint-3")
    assert notes == []
    assert same(run()[0], whole[0])


NO_ROOM = OSError(errno.ENOSPC, "No space left on device")
FULL = [
    ("weights", 2, NO_ROOM),
    ("weights", 2, safetensors.SafetensorError("I/O error: No space left on device (os error 28)")),
    ("tensors", 7, NO_ROOM),
    ("tensors", 7, OSError(errno.EDQUOT, "Disk quota exceeded")),
    ("tensors", 7, RuntimeError("PytorchStreamWriter failed writing file data/3")),
    ("tensors", 7, RuntimeError("[enforce fail] . unexpected pos 64 vs 0")),
    ("tensors", 7, RuntimeError("basic_ios::clear: iostream error")),
    ("state", 2, NO_ROOM),
    ("fsync", 3, NO_ROOM),  # of the recipe, the first and the second seal
]


@pytest.mark.parametrize(("what", "number", "error"), FULL, ids=[f"{w}-{e}" for w, _, e in FULL])
def test_a_full_disk(run, whole, tmp_path, monkeypatch, what, number, error):
    where, name = SAVES.get(what, (os, "fsync"))
    with monkeypatch.context() as patch:
        at_call(patch, where, name, number, error)
        with pytest.raises(OutputError) as refused:
            run()
    line = str(refused.value)
    assert line.startswith(f"the disk of {tmp_path / 'run'} is full at step 6: make room")
    assert line.isprintable()
    # What could not be finished is taken away: it would be in the way.
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["checkpoint-3"]
    assert last_checkpoint(tmp_path / "run/checkpoints")[0].name == "checkpoint-3"
    assert same(run()[0], whole[0])


@pytest.mark.parametrize(
    "error", [RuntimeError("out of luck"), OSError(errno.EIO, "I/O error"), ValueError("No space")]
)
def test_another_error_is_not_called_a_full_disk(run, monkeypatch, error):
    at_call(monkeypatch, torch, "save", 2, error)
    with pytest.raises(type(error)) as raised:
        run()
    assert raised.value is error


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("model.safetensors", flip, "has changed"),
        ("optimizer.pt", halve, "has changed"),
        ("optimizer.pt", flip, "has changed"),
        ("trainer_state.json", halve, "has changed"),
        ("rng_state.pth", Path.unlink, "is missing"),
        ("scheduler.pt", flip, "has changed"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(run, whole, tmp_path, name, change, wrong):
    folder = tmp_path / "run/checkpoints"
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[At(8, stop())])
    change(folder / "checkpoint-6" / name)
    said = []
    assert same(run(say=said.append)[0], whole[0])
    assert said == [
        f"{folder / 'checkpoint-6'} is damaged ({name} {wrong}) and is not used; "
        "going on from checkpoint-3"
    ]


def test_when_all_checkpoints_are_damaged_it_begins_anew(run, whole, tmp_path):
    folder = tmp_path / "run/checkpoints"
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[At(8, stop())])
    for step in (3, 6):
        flip(folder / f"checkpoint-{step}" / "model.safetensors")
    said = []
    assert same(run(say=said.append)[0], whole[0])
    assert len(said) == 2
    assert said[0].endswith("going on from the beginning")


def test_damage_that_is_not_seen_would_matter(run, whole, tmp_path):
    """The control: a flipped bit under a new seal ends in other weights."""
    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[At(8, stop())])
    checkpoint = tmp_path / "run/checkpoints/checkpoint-6"
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] += 1
    safetensors.torch.save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    seal(checkpoint)
    assert not same(run()[0], whole[0])

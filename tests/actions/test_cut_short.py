"""What survives when a tuning is cut short: by Ctrl-C, a full disk, a damaged checkpoint."""

import errno
import json
import os
import shutil

import pytest
import safetensors
import torch
import transformers.modeling_utils
from transformers import TrainerState

from actions.tiny_runs import rows, small, train, validation, values
from cruxlm.actions import trainer
from cruxlm.runtime.checkpoints import last_checkpoint, seal
from cruxlm.runtime.errors import OutputError
from moments import At, at_call, flip, halve, same, stop

pytestmark = pytest.mark.usefixtures("frozen")

EARLY = {"patience": 2, "learning_rate": 1e-1, "schedule": "constant", "steps": 12, "checks": 6}
METHODS = {
    "full": {},
    "lora": {"method": "lora"},
    "lisa": {"method": "lisa", "lisa_every": 3, "lisa_blocks": 1},
    "early": EARLY,
    "early lora": {**EARLY, "method": "lora", "patience": 1, "learning_rate": 0.7},
}
STEPS, CHECKS = 8, 4


def run(folder, what="full", model=None, **options):
    """A training with checkpoints at 2, 4, 6 and 8; its weights and curves."""
    done = train(
        folder, model or small(), "1,3", validate=validation(rows(5, seed=3)),
        **{"steps": STEPS, "checks": CHECKS, **METHODS[what], **options},
    )  # fmt: skip
    return values(done.module), done.fitted.curves


def cut(folder, what="full", after=5, **options):
    with pytest.raises(KeyboardInterrupt):
        run(folder, what, callbacks=[At(after, stop())], **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, frozen):
    """The unbroken training by each method; made when it is asked for."""
    made = {}

    def get(what="full"):
        if what not in made:
            made[what] = run(tmp_path_factory.mktemp("whole"), what)
        return made[what]

    return get


@pytest.mark.parametrize("what", METHODS)
def test_ctrl_c_and_going_on_is_not_stopping_at_all(tmp_path, whole, what):
    cut(tmp_path, what)
    assert last_checkpoint(tmp_path / "run/checkpoints")[0].name == "checkpoint-4"
    taken = []
    found = run(tmp_path, what, callbacks=[At(n, lambda n=n: taken.append(n)) for n in range(13)])
    assert same(found[0], whole(what)[0])
    assert found[1] == whole(what)[1]
    assert taken[0] == 5
    taken.clear()
    again = run(tmp_path, what, callbacks=[At(n, lambda n=n: taken.append(n)) for n in range(13)])
    assert same(again[0], whole(what)[0])  # once more, with nothing left to do
    assert again[1] == whole(what)[1]
    assert taken == []


def test_ending_early_ends_early(whole):
    """The tests above would say little otherwise."""
    for what, patience in (("early", 2), ("early lora", 1)):
        points = [point for point in whole(what)[1] if "eval_loss" in point]
        losses = [point["eval_loss"] for point in points]
        assert points[-1]["step"] < 12
        assert losses.index(min(losses)) == len(losses) - 1 - patience


def test_a_training_that_had_ended_early_is_over(tmp_path, whole):
    """Killed after the checkpoint of its last check, before the best weights were taken."""
    last = max(point["step"] for point in whole("early")[1])
    folder = tmp_path / "run/checkpoints"

    class Over(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.BlockTrainer, "_load_best_model", stop(Over))
        with pytest.raises(Over):
            run(tmp_path, "early")
    assert last_checkpoint(folder)[0].name == f"checkpoint-{last}"
    steps = []
    found = run(tmp_path, "early", callbacks=[At(n, lambda: steps.append(1)) for n in range(13)])
    assert steps == []
    assert same(found[0], whole("early")[0])
    assert found[1] == whole("early")[1]


def test_a_folder_that_was_moved_meanwhile(tmp_path, whole, monkeypatch):
    """Or is named from elsewhere: the best weights are in it still."""
    monkeypatch.chdir(tmp_path)
    last = max(point["step"] for point in whole("early")[1])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", "early", callbacks=[At(last - 1, stop())])
    (tmp_path / "a").rename(tmp_path / "b")
    said = []
    found = run(tmp_path / "b", "early", say=said.append)
    assert said == []
    assert same(found[0], whole("early")[0])


def test_best_weights_that_are_damaged_are_not_taken(tmp_path, whole):
    curve = [point for point in whole("early")[1] if "eval_loss" in point]
    best = min(curve, key=lambda point: point["eval_loss"])["step"]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "early", callbacks=[At(curve[-1]["step"] - 1, stop())])
    place = (tmp_path / f"run/checkpoints/checkpoint-{best}").resolve()
    flip(place / "model.safetensors")
    said = []
    found = run(tmp_path, "early", say=said.append)
    assert said == [
        f"the best weights, {place}, are damaged (model.safetensors has changed) and are not used; "
        "going on from the beginning"
    ]
    assert same(found[0], whole("early")[0])


def test_the_comparison_sees_a_lost_optimizer(tmp_path, whole):
    """The negative control of every test here: going on with other moments ends elsewhere."""
    cut(tmp_path)
    checkpoint = tmp_path / "run/checkpoints/checkpoint-4"
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    for moments in state["state"].values():
        moments["exp_avg"].mul_(0.99)
    torch.save(state, checkpoint / "optimizer.pt")
    seal(checkpoint)
    assert not same(run(tmp_path)[0], whole()[0])


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("model.safetensors", flip, "has changed"),
        ("optimizer.pt", halve, "has changed"),
        ("rng_state.pth", os.unlink, "is missing"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, whole, name, change, wrong):
    folder = (tmp_path / "run/checkpoints").resolve()
    cut(tmp_path)
    change(folder / "checkpoint-4" / name)
    said = []
    assert same(run(tmp_path, say=said.append)[0], whole()[0])
    assert said == [
        f"{folder / 'checkpoint-4'} is damaged ({name} {wrong}) and is not used; "
        "going on from checkpoint-2"
    ]


def test_when_all_checkpoints_are_damaged_it_begins_anew(tmp_path, whole):
    cut(tmp_path, "lora")
    for path in (tmp_path / "run/checkpoints").glob("*/adapter_model.safetensors"):
        flip(path)
    said = []
    assert same(run(tmp_path, "lora", say=said.append)[0], whole("lora")[0])
    assert len(said) == 2
    assert said[0].endswith("going on from the beginning")


NO_ROOM = OSError(errno.ENOSPC, "No space left on device")
FULL = [
    ("full", transformers.modeling_utils, "safe_save_file", 2, NO_ROOM),
    ("full", torch, "save", 6, RuntimeError("PytorchStreamWriter failed writing file data/3")),
    ("full", torch, "save", 6, safetensors.SafetensorError("No space left on device (os error)")),
    ("lora", TrainerState, "save_to_json", 2, NO_ROOM),
    ("lisa", os, "fsync", 3, NO_ROOM),  # of what is wanted, the first and the second seal
]


@pytest.mark.parametrize(
    ("what", "where", "name", "number", "error"), FULL, ids=[f"{f[0]}-{f[2]}" for f in FULL]
)
def test_a_full_disk(tmp_path, whole, monkeypatch, what, where, name, number, error):
    with monkeypatch.context() as patch:
        at_call(patch, where, name, number, error)
        with pytest.raises(OutputError) as refused:
            run(tmp_path, what)
    line = str(refused.value)
    assert line.startswith(f"the disk of {tmp_path / 'run'} is full at step 4: make room")
    assert line.isprintable()
    # What could not be finished is taken away: it would be in the way.
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["checkpoint-2"]
    found = run(tmp_path, what)
    assert same(found[0], whole(what)[0])
    assert found[1] == whole(what)[1]


def test_another_error_is_not_called_a_full_disk(tmp_path, monkeypatch):
    error = RuntimeError("out of luck")
    at_call(monkeypatch, torch, "save", 2, error)
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path)
    assert raised.value is error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 0.5}, "another settings.learning_rate (0.01, now 0.5)"),
        ({"seed": 7}, "another settings.seed (0, now 7)"),
        ({"steps": 12}, "another settings.steps (8, now 12)"),
        ({"patience": 3}, "another settings.patience (null, now 3)"),
        ({"parts": ("norm",)}, 'another plan.parts ([], now ["norm"])'),
        ({"method": "lora"}, 'another settings.method ("full", now "lora")'),
    ],
)
def test_a_folder_with_another_run_is_refused_by_what_differs(tmp_path, change, said):
    (tmp_path / "run").mkdir()
    wanted = json.loads((tmp_path.parent / "wanted.json").read_text())
    (tmp_path / "run/wanted.json").write_text(json.dumps(wanted))
    with pytest.raises(OutputError) as refused:
        run(tmp_path, **change)
    assert str(refused.value).startswith(f"{tmp_path} holds a run with {said}: choose another")
    assert str(refused.value).isprintable()


@pytest.fixture(scope="module", autouse=True)
def _asked(tmp_path_factory, frozen):
    """What a run by `run` is asked for, beside every test's folder."""
    place = tmp_path_factory.mktemp("asked")
    cut(place, after=1)
    shutil.copy(place / "run/wanted.json", tmp_path_factory.getbasetemp() / "wanted.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"settings": {}}'])
def test_a_folder_with_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/wanted.json").write_text(text)
    with pytest.raises(OutputError, match="holds a run with another"):
        run(tmp_path)

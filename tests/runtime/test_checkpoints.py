"""Checkpoints: whole, damaged or unfinished."""

import json

import pytest

from cruxlm.runtime.checkpoints import SEAL, damage, last_checkpoint, seal


@pytest.fixture
def made(tmp_path):
    """Makes a checkpoint of two files, one of them in a folder."""

    def make(step, sealed=True):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "more").mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(range(step, step + 100)))
        (folder / "more" / "state.json").write_text(json.dumps({"step": step}))
        if sealed:
            seal(folder)
        return folder

    return make


def test_a_sealed_checkpoint_is_sound(made):
    folder = made(3)
    assert damage(folder) is None
    assert set(json.loads((folder / SEAL).read_text())) == {"weights", "more/state.json"}
    seal(folder)  # again, over the old seal
    assert damage(folder) is None


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: flip(f / "weights"), "weights has changed"),
        (lambda f: (f / "weights").write_bytes(b""), "weights has changed"),
        (lambda f: (f / "weights").unlink(), "weights is missing"),
        (lambda f: (f / "more" / "state.json").unlink(), "more/state.json is missing"),
        (lambda f: flip(f / "more" / "state.json"), "more/state.json has changed"),
        (lambda f: (f / SEAL).unlink(), "it was not finished"),
        (lambda f: (f / SEAL).write_text('{"weights": '), "sealed.json cannot be read"),
        (lambda f: (f / SEAL).write_bytes(b"\xff"), "sealed.json cannot be read"),
        (lambda f: (f / SEAL).write_text("[]"), "sealed.json cannot be read"),
    ],
)
def test_what_is_wrong_is_named(made, change, said):
    folder = made(3)
    change(folder)
    assert damage(folder) == said


def test_the_latest_sound_one_is_found(made, tmp_path):
    assert last_checkpoint(tmp_path) == (None, [])
    assert last_checkpoint(tmp_path / "absent") == (None, [])
    folders = {step: made(step) for step in (2, 9, 10, 30)}
    (tmp_path / "checkpoint-none").mkdir()
    (tmp_path / "other").mkdir()
    assert last_checkpoint(tmp_path) == (folders[30], [])  # by number, not by letters
    flip(folders[30] / "weights")
    found, notes = last_checkpoint(tmp_path)
    assert found == folders[10]
    assert notes == [f"{folders[30]} is damaged (weights has changed) and is not used"]
    assert not folders[30].exists()
    assert folders[2].exists()


def test_an_unfinished_one_is_not_spoken_of(made, tmp_path):
    first, torn = made(1), made(2, sealed=False)
    assert last_checkpoint(tmp_path) == (first, [])
    assert not torn.exists()
    flip(first / "weights")
    found, notes = last_checkpoint(tmp_path)
    assert found is None
    assert len(notes) == 1

"""The cache: what is found again, what is refused, and what is left when a writer fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cruxlm.runtime import cache as module
from cruxlm.runtime.cache import Cache, cache_folder
from cruxlm.runtime.errors import OutputError

DESCRIPTION = {"model": "m", "block": 3, "rows": [1, 2], "half": 0.5, "none": None}
WHOLE = np.arange(35, dtype=np.float32).reshape(7, 5)


class Maker:
    """Makes an array in pieces and counts how often."""

    def __init__(self, whole=WHOLE):
        self.whole, self.calls = whole, 0

    def __call__(self):
        self.calls += 1
        for start in range(0, len(self.whole), 3):
            part = self.whole[start : start + 3]
            yield {"states": part, "places": np.arange(start, start + len(part))}


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def entry_of(cache):
    (place,) = cache.folder.iterdir()
    return place


def data_of(cache):
    return next(entry_of(cache).glob("states.*"))


def names(cache):
    """What is in the one entry, without the marks of the writers."""
    return sorted(path.name.split(".")[0] for path in entry_of(cache).iterdir())


# What is found.


def test_pieces_are_put_together_and_found_again(cache, make):
    for _ in range(3):
        arrays = cache.arrays(DESCRIPTION, make)
        assert np.array_equal(arrays["states"], WHOLE)
        assert np.array_equal(arrays["places"], np.arange(7))
    assert make.calls == 1
    assert names(cache) == ["entry", "lock", "places", "states"]
    again = Cache(cache.folder).arrays(dict(reversed(DESCRIPTION.items())), make)
    assert np.array_equal(again["states"], WHOLE)
    assert make.calls == 1


def test_arrays_are_mapped_and_cannot_be_written(cache, make):
    for _ in range(2):
        states = cache.arrays(DESCRIPTION, make)["states"]
        assert isinstance(states, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            states[0, 0] = 1


@pytest.mark.parametrize("dtype", ["<f8", "<f2", "<i8", "<u2", "|b1", "|i1"])
def test_every_dtype_comes_back_bit_for_bit(cache, dtype):
    whole = np.random.default_rng(0).integers(0, 2, (8, 3, 2)).astype(dtype)
    make = Maker(whole[::-1])  # pieces need not lie in one stretch of memory
    for _ in range(2):
        states = cache.arrays(DESCRIPTION, make)["states"]
        assert states.dtype == whole.dtype
        assert np.array_equal(states, whole[::-1])


def test_nothing_is_an_entry_too(cache):
    def make():
        yield {"empty": np.zeros((0, 4), np.float32)}

    for _ in range(2):
        assert cache.arrays(DESCRIPTION, make)["empty"].shape == (0, 4)


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"block": 4}, {"rows": [2, 1]}, {"half": 0.25}, {"none": 0}, {"x": 1}],
)
def test_another_description_is_another_entry(cache, make, change):
    cache.arrays(DESCRIPTION, make)
    other = Maker(WHOLE + 1)
    assert np.array_equal(cache.arrays({**DESCRIPTION, **change}, other)["states"], WHOLE + 1)
    assert other.calls == 1
    assert np.array_equal(cache.arrays(DESCRIPTION, make)["states"], WHOLE)
    assert make.calls == 1


def test_a_description_is_plain_data(cache, make):
    for wrong in ({"path": Path("x")}, {"loss": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            cache.arrays(wrong, make)
    assert make.calls == 0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CRUX_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/cruxlm"),
        ({"XDG_CACHE_HOME": "x"}, "/home/me/.cache/cruxlm"),
        ({"CRUX_CACHE": ""}, "/home/me/.cache/cruxlm"),
    ],
)
def test_where_the_cache_is(monkeypatch, environment, expected):
    for name in ("CRUX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Cache().folder == Path(expected)


# What is refused.


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def change_entry(change):
    def changed(cache):
        path = entry_of(cache) / "entry.json"
        entry = json.loads(path.read_text())
        change(entry)
        path.write_text(json.dumps(entry))

    return changed


DAMAGE = {
    "a flipped bit": lambda c: flip(data_of(c)),
    "cut by a byte": lambda c: cut(data_of(c)),
    "longer": lambda c: data_of(c).write_bytes(data_of(c).read_bytes() + b"\0"),
    "no data": lambda c: data_of(c).unlink(),
    "no entry": lambda c: (entry_of(c) / "entry.json").unlink(),
    "half an entry": lambda c: os.truncate(entry_of(c) / "entry.json", 40),
    "an empty entry": lambda c: (entry_of(c) / "entry.json").write_bytes(b""),
    "not an entry": lambda c: (entry_of(c) / "entry.json").write_text("[]"),
    "not text": lambda c: (entry_of(c) / "entry.json").write_bytes(b"\xff"),
    "of another description": change_entry(lambda e: e["description"].update(block=2)),
    "of another shape": change_entry(lambda e: e["arrays"]["states"].update(shape=[8, 5])),
    "of no dtype": change_entry(lambda e: e["arrays"]["states"].update(dtype="rubbish")),
    "without hashes": change_entry(lambda e: e["arrays"]["states"].pop("sha256")),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_entry_is_made_anew(cache, make, what):
    cache.arrays(DESCRIPTION, make)
    DAMAGE[what](cache)
    assert np.array_equal(cache.arrays(DESCRIPTION, make)["states"], WHOLE)
    assert make.calls == 2
    assert np.array_equal(cache.arrays(DESCRIPTION, make)["states"], WHOLE)
    assert make.calls == 2
    assert names(cache) == ["entry", "lock", "places", "states"]  # and nothing of the old one


def test_what_is_not_accepted_is_made_anew(cache, make):
    cache.arrays(DESCRIPTION, make)
    seen = []

    def accept(arrays):
        seen.append(arrays["states"].copy())
        return False

    arrays = cache.arrays(DESCRIPTION, make, accept=accept)
    assert make.calls == 2
    assert np.array_equal(arrays["states"], WHOLE)
    assert all(np.array_equal(states, WHOLE) for states in seen)
    cache.arrays(DESCRIPTION, make, accept=lambda _arrays: True)
    assert make.calls == 2


# What is left when a writer fails.

FULL = OSError(28, "No space left on device")


def failing(real, number, error):
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise error
        return real(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_failure_leaves_nothing_half_written(cache, make, monkeypatch, error, number):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync, number, error))
        kind = OutputError if error is FULL else KeyboardInterrupt
        with pytest.raises(kind) as raised:
            cache.arrays(DESCRIPTION, make)
    if error is FULL:
        line = str(raised.value)
        assert line.startswith(f"cannot write to the cache {entry_of(cache)}: No space left on")
        assert "CRUX_CACHE" in line
        assert line.isprintable()
    assert names(cache) == ["lock"]
    assert np.array_equal(cache.arrays(DESCRIPTION, make)["states"], WHOLE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_disk_that_is_full_when_it_is_flushed(cache, make, monkeypatch):
    usual = Path.open

    def full(path, *args, **kwargs):
        if path.name.startswith("states"):
            return usual(Path("/dev/full"), "wb")
        return usual(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(OutputError, match="No space left on device"):
            cache.arrays(DESCRIPTION, make)
    assert names(cache) == ["lock"]


def test_too_little_room_is_said_before_any_work(cache, make, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 * 10**9))
    with pytest.raises(OutputError, match=r"needs 7\.4 GB and there are 3\.0 GB in .*CRUX_CACHE"):
        cache.arrays(DESCRIPTION, make, size=7_400_000_000)
    assert make.calls == 0
    cache.arrays(DESCRIPTION, make, size=2_000_000_000)
    assert make.calls == 1


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_an_error_of_the_maker_is_its_own(cache, make, error):
    def broken():
        yield {"states": WHOLE}
        raise error

    with pytest.raises(error):
        cache.arrays(DESCRIPTION, broken)
    assert names(cache) == ["lock"]
    assert np.array_equal(cache.arrays(DESCRIPTION, make)["states"], WHOLE)


def test_pieces_of_another_kind_are_refused(cache):
    for other in (WHOLE.astype(np.float64), WHOLE[:, :2]):
        with pytest.raises(ValueError, match="a piece of"):
            cache.arrays(DESCRIPTION, lambda other=other: [{"s": WHOLE}, {"s": other}])
        assert names(cache) == ["lock"]


def test_a_file_where_the_folder_should_be(tmp_path, make):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot write to the cache .*file: Not a directory"):
        Cache(tmp_path / "file").arrays(DESCRIPTION, make)
    assert make.calls == 0


# Other processes.

WRITER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from cruxlm.runtime.cache import Cache

folder, pieces, kill, value = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def make():
    (folder / f"began-{value}").touch()
    for index in range(pieces):
        if index == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        yield {"states": np.full((100, 50), float(value), np.float32)}

states = Cache(folder / "cache").arrays({"key": 1}, make)["states"]
print(states.shape, states.min(), states.max())
"""


def writer(folder, pieces, kill=-1, value=1):
    arguments = [sys.executable, "-c", WRITER, str(folder), str(pieces), str(kill), str(value)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no locks there")
def test_what_a_killed_process_left_is_taken_away(tmp_path):
    killed = writer(tmp_path, pieces=5, kill=3)
    assert killed.wait(60) == -signal.SIGKILL
    cache = Cache(tmp_path / "cache")
    assert names(cache) == ["lock", "states"]
    left = data_of(cache)
    assert left.stat().st_size > 0
    states = cache.arrays({"key": 1}, lambda: [{"states": WHOLE}])["states"]
    assert np.array_equal(states, WHOLE)
    assert not left.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_of_two_processes_one_makes_the_entry(tmp_path):
    both = [writer(tmp_path, pieces=30, value=value) for value in (1, 2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0] == said[1]
    assert said[0][0] in ("(3000, 50) 1.0 1.0\n", "(3000, 50) 2.0 2.0\n")
    assert len(list(tmp_path.glob("began-*"))) == 1


def test_without_locks_both_make_it_and_one_wins(cache, make, monkeypatch):
    """The other comes and goes while this one writes: each has whole arrays."""
    monkeypatch.setattr(module, "_locked", lambda _file: False)
    other, given = Maker(WHOLE + 1), []

    def slow():
        pieces = make()
        yield next(pieces)
        given.append(cache.arrays(DESCRIPTION, other)["states"])
        yield from pieces

    mine = cache.arrays(DESCRIPTION, slow)["states"]
    assert np.array_equal(mine, WHOLE)
    assert np.array_equal(given[0], WHOLE + 1)
    assert np.array_equal(cache.arrays(DESCRIPTION, make)["states"], WHOLE)
    assert (make.calls, other.calls) == (1, 1)

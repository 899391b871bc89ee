"""The one cache: arrays on disk, found by a description of what they hold and by nothing else.

An entry is a folder named by the hash of its description. ``entry.json`` holds the description and
names the files of the arrays with their hashes; it is renamed into place when they are complete, so
that an entry is whole or not there. What is read is checked against it, every byte.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from cruxlm.runtime.errors import OutputError

ENTRY, LOCK = "entry.json", "lock"
Arrays = dict[str, np.ndarray]
"""Arrays by name."""


def cache_folder() -> Path:
    """Where the cache is: ``CRUX_CACHE``, or ``cruxlm`` in the user's cache folder."""
    own = os.environ.get("CRUX_CACHE")
    if own:
        return Path(own)
    usual = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not usual.is_absolute():  # then it counts for nothing, says its specification
        usual = Path.home() / ".cache"
    return usual / "cruxlm"


class Cache:
    """Arrays on disk. Nothing in it is worth keeping: a folder may be deleted at any time."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = cache_folder() if folder is None else folder
        """The folder of this cache."""

    def arrays(
        self,
        description: Mapping[str, Any],
        make: Callable[[], Iterable[Arrays]],
        *,
        size: int = 0,
        accept: Callable[[Arrays], bool] = lambda _arrays: True,
    ) -> Arrays:
        """The arrays that a description stands for, mapped from disk and not writable.

        Args:
            description: Everything that the arrays depend on, as plain data.
            make: Makes them when they are not there, piece by piece; the pieces of a name are
                put together along the first axis. What it raises leaves no entry.
            size: Bytes that it will make, where that is known: without the room it is not begun.
            accept: Says of arrays that were found whether they are what they should be.

        Of several processes that want the same entry one makes it and the others wait. An entry
        that is damaged, of another description or not accepted counts as absent and is replaced.

        Raises:
            OutputError: When the cache cannot be written.
        """
        text = json.dumps(description, sort_keys=True, allow_nan=False)
        place = self.folder / hashlib.sha256(text.encode()).hexdigest()[:32]

        def found() -> Arrays | None:
            arrays = _read(place, text)
            return arrays if arrays is not None and accept(arrays) else None

        arrays = found()
        if arrays is not None:
            return arrays
        with _writing(self.folder):
            place.mkdir(parents=True, exist_ok=True)
            lock = (place / LOCK).open("ab")
        with lock:
            alone = _locked(lock.fileno())
            arrays = found()  # by now another may have made them
            if arrays is not None:
                return arrays
            if alone:  # what lies here is damaged, or left by a process that was killed
                for path in place.iterdir():
                    if path.name != LOCK:
                        path.unlink(missing_ok=True)
            _check_room(self.folder, size)
            return _write(place, text, make)


def _read(place: Path, text: str) -> Arrays | None:
    """The arrays of an entry; None when there are none that can be used."""
    arrays: Arrays = {}
    try:
        entry = json.loads((place / ENTRY).read_text(encoding="utf-8"))
        if entry["description"] != json.loads(text):
            return None
        for name, said in entry["arrays"].items():
            path = place / said["file"]
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while part := file.read(1 << 20):
                    digest.update(part)
            if digest.hexdigest() != said["sha256"]:
                return None
            arrays[name] = _mapped(path, said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or the entry itself is damaged
    return arrays


def _mapped(path: Path, said: Mapping[str, Any]) -> np.ndarray:
    shape, dtype = tuple(said["shape"]), np.dtype(said["dtype"])
    if 0 in shape:  # nothing cannot be mapped
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, mode="r", shape=shape)


def _write(place: Path, text: str, make: Callable[[], Iterable[Arrays]]) -> Arrays:
    mark = secrets.token_hex(4)  # where there are no locks two may write at once
    parts: dict[str, _Part] = {}
    new = place / f"{ENTRY}.{mark}"
    try:
        for pieces in make():
            with _writing(place):
                for name, piece in pieces.items():
                    if name not in parts:
                        parts[name] = _Part(place / f"{name}.{mark}", piece)
                    parts[name].append(piece)
        with _writing(place):
            said = {name: part.finish() for name, part in parts.items()}
            entry = {"description": json.loads(text), "arrays": said}
            with new.open("x", encoding="utf-8") as file:
                json.dump(entry, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            arrays = {name: _mapped(place / part["file"], part) for name, part in said.items()}
            new.replace(place / ENTRY)
    except BaseException:
        for path in (new, *(part.path for part in parts.values())):
            path.unlink(missing_ok=True)
        raise
    finally:
        for part in parts.values():
            with suppress(OSError):  # a full disk is told of a second time
                part.file.close()
    return arrays


class _Part:
    """The file of one array, while its pieces come."""

    def __init__(self, path: Path, first: np.ndarray) -> None:
        self.path = path
        self.file = path.open("xb")
        self.digest = hashlib.sha256()
        self.like = (first.dtype, first.shape[1:])
        self.length = 0

    def append(self, piece: np.ndarray) -> None:
        """Write a piece behind the ones before it."""
        if (piece.dtype, piece.shape[1:]) != self.like:
            raise ValueError(f"{self.path.name}: a piece of {piece.dtype} {piece.shape}")
        data = piece.tobytes()
        self.file.write(data)
        self.digest.update(data)
        self.length += len(piece)

    def finish(self) -> dict[str, Any]:
        """Bring everything to the disk; what the entry says of the array."""
        self.file.flush()
        os.fsync(self.file.fileno())
        dtype, rest = self.like
        return {
            "file": self.path.name,
            "dtype": dtype.str,
            "shape": [self.length, *rest],
            "sha256": self.digest.hexdigest(),
        }


def _locked(file: int) -> bool:
    """Wait until no other process has the file; False where that cannot be had."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows, or a network's disk
        return False
    return True


def _check_room(folder: Path, size: int) -> None:
    with _writing(folder):
        free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"the cache needs {size / 1e9:.1f} GB and there are {free / 1e9:.1f} GB in {folder}: "
            "make room, or name another folder in CRUX_CACHE"
        )


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write to the cache {place}: {error.strerror or error}; make room, or name "
            "another folder in CRUX_CACHE"
        ) from error

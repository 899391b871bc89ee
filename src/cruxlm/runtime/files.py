"""Files that are there whole or not at all."""

import os
import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from cruxlm.runtime.errors import OutputError

LEFT_OVER = re.compile(r"\.(.+)\.[0-9a-f]{8}\.(?:new|old)")
"""A temporary name of `write_all`."""


def write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write several files into ``folder``; after an error or an interrupt it is as it was before.

    All bytes are on disk under temporary names before the first rename, and what a rename replaces
    is kept until the last one is done. Raises ``OutputError`` when the folder cannot be written.
    """
    mark = secrets.token_hex(4)
    places = [folder / name for name in contents]
    staged = [folder / f".{name}.{mark}.new" for name in contents]
    kept = [folder / f".{name}.{mark}.old" for name in contents]
    made: list[Path] = []
    moves: list[tuple[Path, Path]] = []
    try:
        made += [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for new, data in zip(staged, contents.values(), strict=True):
            with new.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for place, new, old in zip(places, staged, kept, strict=True):
            if place.is_file():
                moves.append((place, old))
                place.replace(old)
            moves.append((new, place))
            new.replace(place)
    except BaseException as error:
        for source, target in reversed(moves):
            if target.exists() and not source.exists():  # the last move may not have happened
                target.replace(source)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
        raise
    else:
        for old in kept:
            old.unlink(missing_ok=True)
    finally:
        for new in staged:
            new.unlink(missing_ok=True)
        for place in made:
            with suppress(OSError):  # not empty: it is wanted
                place.rmdir()


def remove_left_overs(folder: Path, names: Collection[str]) -> None:
    """Remove what `write_all` has left of files with these names when it was killed."""
    for path in folder.glob(".*"):
        left = LEFT_OVER.fullmatch(path.name)
        if left and left[1] in names:
            path.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before any work is done for it."""
    nearest = folder
    while not _present(nearest, folder):
        nearest = nearest.parent
    if not nearest.is_dir():
        where = "" if nearest == folder else f": {nearest}"
        raise OutputError(f"--out {folder}{where} is not a folder: name one")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"no write access to {nearest}: choose another --out")


def _present(path: Path, folder: Path) -> bool:
    try:
        path.lstat()  # a link that leads nowhere is there too, and in the way
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OutputError(f"--out {folder}: {error.strerror}: choose another") from error
    return True

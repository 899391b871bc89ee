"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cruxlm.runtime.errors import OutputError


def write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write several files into ``folder``, each under a temporary name first, then renamed.

    All bytes are on disk before the first rename, so that a full disk or an interrupt leaves the
    folder as it was; the renames themselves are atomic one by one.
    """
    made_folder = not folder.exists()
    staged: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in contents.items():
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            staged.append((Path(temporary), folder / name))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        for temporary_path, final in staged:
            temporary_path.chmod(0o666 & ~umask)  # mkstemp makes files that only we can read
            temporary_path.replace(final)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        for temporary_path, _ in staged:
            temporary_path.unlink(missing_ok=True)
        if made_folder and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def check_writable(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before any work is done for it."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--out {folder} is a file: name a folder")
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise OutputError(f"--out {folder}: {nearest} is a file: name a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"no write access to {nearest}: choose another --out")

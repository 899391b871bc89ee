"""Checkpoints that are whole or not there: sealed when complete, checked before they are used."""

import hashlib
import json
import shutil
from pathlib import Path

from cruxlm.runtime.files import write_all

SEAL = "sealed.json"
"""The file that names every file of a complete checkpoint and its hash; written last."""


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as complete."""
    names = sorted(p.relative_to(checkpoint).as_posix() for p in checkpoint.rglob("*"))
    hashes = {n: _sha256(checkpoint / n) for n in names if (checkpoint / n).is_file() and n != SEAL}
    write_all(checkpoint, {SEAL: json.dumps(hashes, indent=1).encode()})


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None when it is as it was sealed."""
    try:
        hashes = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "it was not finished"
    except (OSError, ValueError):
        return f"{SEAL} cannot be read"
    if not isinstance(hashes, dict):
        return f"{SEAL} cannot be read"
    for name, wanted in hashes.items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if _sha256(checkpoint / name) != wanted:
            return f"{name} has changed"
    return None


def last_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The latest sound checkpoint, after taking away what cannot be used.

    Returns:
        The checkpoint, or None, and one line for each damaged one that was passed over. One
        that a kill left unfinished is no damage and is not spoken of.
    """
    notes: list[str] = []
    found = [p for p in folder.glob("checkpoint-*") if p.name.split("-", 1)[1].isdecimal()]
    for path in sorted(found, key=lambda p: int(p.name.split("-")[1]), reverse=True):
        wrong = damage(path)
        if wrong is None:
            return path, notes
        if (path / SEAL).exists():
            notes.append(f"{path} is damaged ({wrong}) and is not used")
        shutil.rmtree(path, ignore_errors=True)
    return None, notes


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):  # the moments of a large model do not fit beside it
            digest.update(part)
    return digest.hexdigest()

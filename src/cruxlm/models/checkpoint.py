"""A model folder on disk: refused when it is damaged, and named by its content."""

import hashlib
import json
import os
from pathlib import Path

from cruxlm.runtime.errors import ModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "consolidated.00.pth")
SAMPLES, SAMPLE_BYTES = 64, 4096
"""A content hash reads this many pieces of each file, evenly spaced, of this many bytes."""


def checked_folder(name: str, *, allow_pickle: bool) -> Path | None:
    """The folder that a model's name stands for, once it is checked; None for a hub id.

    Raises:
        ModelError: When the name is a path at which there is no usable checkpoint.
    """
    # Not Path.is_dir(), which raises for a name that is too long to be a file's.
    local = os.path.isdir(name)
    like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if not local and (os.path.exists(name) or like_path):
        raise ModelError(f"{name} is not a model folder")
    if not local:
        return None
    check_folder(Path(name), allow_pickle=allow_pickle)
    return Path(name)


def check_folder(folder: Path, *, allow_pickle: bool) -> None:
    """Refuse a folder that is no usable checkpoint, before anything is built from it."""
    configuration = folder / "config.json"
    if not configuration.is_file():
        raise ModelError(f"{folder} has no config.json: name a model folder or a hub id")
    try:
        parsed = json.loads(configuration.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{configuration} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"{configuration} holds no configuration")
    shards = weight_files(folder)
    if not shards:
        pickles = [name for name in PICKLES if (folder / name).exists()]
        pickles += sorted(path.name for path in folder.glob("pytorch_model-*.bin"))
        if pickles and not allow_pickle:
            raise ModelError(
                f"{folder} has only pickled weights ({pickles[0]}): convert them to safetensors, "
                "or pass --allow-pickle if you trust their origin"
            )
        if not pickles:
            raise ModelError(f"{folder} has no weights: expected {WEIGHTS} or {INDEX}")
    for shard in shards:
        _check_safetensors(shard)


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files, in the index's order of names."""
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index} is not a weight index: {error}") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"{folder} lacks {missing[0]}, which its index names: fetch it again")
        return [folder / name for name in names]
    return sorted(folder.glob("*.safetensors"))


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged ({error}): fetch it again") from error


def folder_sha256(folder: Path) -> str:
    """Content hash of a checkpoint: configuration, headers and evenly spaced pieces of the weights.

    Reading every byte of a large model would take longer than scanning it; a header holds each
    tensor's name, shape and place, and the pieces tell one set of values from another.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder) or sorted(folder.glob("*.bin")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            if path.suffix == ".safetensors":
                length = int.from_bytes(file.read(8), "little")
                digest.update(file.read(length))
            for piece in range(SAMPLES):
                file.seek(piece * max(0, size - SAMPLE_BYTES) // (SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()

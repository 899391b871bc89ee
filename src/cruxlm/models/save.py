"""A model folder that is whole or not there, and that transformers 4.57 and 5 both load."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cruxlm.runtime.errors import CruxError, ModelError, OutputError
from cruxlm.runtime.files import check_writable
from cruxlm.runtime.training import disk_is_full

TOKENIZER_CONFIG = "tokenizer_config.json"


def save_whole(folder: Path, write: Callable[[Path], None], texts: Mapping[str, str]) -> None:
    """Save a model so that a folder with weights holds a whole model.

    All files are written under another name first and the weights come last. What the folder
    holds besides stays.

    Args:
        folder: Where to save it.
        write: Writes weights, configuration and tokenizer into the folder that it is given.
        texts: Further text files by name, such as a card.
    """
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(part)
    for name, text in texts.items():
        (part / name).write_text(text, encoding="utf-8")
    for path in sorted(part.iterdir(), key=lambda p: (p.suffix == ".safetensors", p.name)):
        os.replace(path, folder / path.name)
    part.rmdir()


def save_or_say(
    folder: Path, write: Callable[[Path], None], texts: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Save a model as ``save_whole`` does; whatever ends it, nothing of it is left behind.

    Raises:
        OutputError: When the folder cannot be written.
        ModelError: When transformers does not save such a model.
    """
    there = folder.exists()
    try:
        save_whole(folder, write, texts)
    except BaseException as error:
        shutil.rmtree(folder if not there else folder / ".part", ignore_errors=True)
        if isinstance(error, CruxError):
            raise
        if isinstance(error, OSError) or disk_is_full(error):
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"cannot save the model to {folder}: {why}") from error
        if isinstance(error, ValueError):  # a generation configuration that contradicts itself
            said = " ".join(str(error).split())
            raise ModelError(f"transformers does not save this model: {said}") from error
        raise


def check_free(folder: Path) -> None:
    """Refuse a folder that a model cannot be saved to, or that holds one (``OutputError``)."""
    check_writable(folder)
    if any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
        raise OutputError(f"{folder} holds a model already: choose another --out")


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer in words that transformers 4.57 reads as well.

    Version 5 names the class ``TokenizersBackend``, which 4.57 does not have, and writes
    ``extra_special_tokens`` as a list, at which 4.57 stops. Both read ``PreTrainedTokenizerFast``
    and ``additional_special_tokens``.
    """
    tokenizer.save_pretrained(folder)
    path = folder / TOKENIZER_CONFIG
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if config.pop("backend", None) or config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config["model_input_names"] = list(tokenizer.model_input_names)
    extra = config.pop("extra_special_tokens", None)
    if isinstance(extra, list):
        config["additional_special_tokens"] = extra
    elif extra:
        config["extra_special_tokens"] = extra
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

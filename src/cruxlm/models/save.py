"""A model folder that is whole or not there, and that transformers 4.57 and 5 both load."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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

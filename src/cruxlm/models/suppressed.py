"""A suppressed model on disk: plain weights, and which skip of them passes how much.

There is no folding it into the weights. A norm takes a scale away, so at gamma above 0 every later
branch could be divided by gamma in its output maps, but for the constant in the norms, which would
then count 1 / gamma^2 as much; at 0 nothing that is multiplied could take the stream away. So the
weights lie in a folder inside: whoever loads the outer one as a plain model finds none, rather than
one whose skip is whole.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cruxlm.models.load import LoadedModel, load_model, quiet_transformers
from cruxlm.models.save import save_or_say, save_tokenizer
from cruxlm.models.shortcut import Skip, skip_of, suppress
from cruxlm.runtime.errors import ModelError
from cruxlm.runtime.files import write_all

SUPPRESSED = "suppressed.json"
"""The file that says which skip is scaled; the model is whole when it is there."""
WEIGHTS = "model"
"""The folder of the weights inside."""


def is_suppressed(folder: str | Path) -> bool:
    """Whether a folder holds a suppressed model."""
    return (Path(folder) / SUPPRESSED).is_file()


def load_suppressed(folder: str | Path, **loading: Any) -> LoadedModel:
    """Load a suppressed model with its skip scaled, for good.

    It can be run, generated with and measured. It must not be saved as a plain model: that would be
    the one whose skip is whole.

    Args:
        folder: What ``save_suppressed`` wrote.
        loading: Options of ``load_model``.

    Raises:
        ModelError: When the folder holds none, or the skip is not where the file says.
    """
    where = Path(folder)
    try:
        record = json.loads((where / SUPPRESSED).read_text("utf-8"))["skip"]
        block, half, name, gamma = (record[key] for key in ("block", "half", "name", "gamma"))
        gamma = float(gamma)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no suppressed model ({SUPPRESSED}): {error}") from error
    loaded = load_model(where / WEIGHTS, **loading)
    skip = skip_of(loaded, block, half)
    if skip.name != name:
        raise ModelError(f"{folder}: the skip of block {block} is around {skip.name}, not {name}")
    suppress(skip, gamma)
    said = f"block {block} {half} {gamma:g}"
    return replace(loaded, name=str(folder), identity={**loaded.identity, "suppressed": said})


def save_suppressed(
    model: LoadedModel, skip: Skip, gamma: float, folder: Path, more: Mapping[str, Any], card: str
) -> None:
    """Save a model so that ``load_suppressed`` reads it back with the skip scaled.

    Args:
        model: The model; whether its skip is scaled now does not matter.
        skip: The skip.
        gamma: What it is scaled by.
        folder: Where to save it.
        more: What else the file says.
        card: The text of README.md.

    Raises:
        OutputError: When the folder cannot be written.
        ModelError: When transformers does not save such a model.
    """
    module: Any = model.module

    def write(part: Path) -> None:
        with quiet_transformers():
            module.save_pretrained(part)
        if model.tokenizer is not None:
            save_tokenizer(model.tokenizer, part)

    save_or_say(folder / WEIGHTS, write)
    said = {"block": skip.block, "half": skip.half, "name": skip.name, "gamma": gamma}
    text = json.dumps({"skip": said, **more}, indent=1, allow_nan=False) + "\n"
    write_all(folder, {"README.md": card.encode(), SUPPRESSED: text.encode()})

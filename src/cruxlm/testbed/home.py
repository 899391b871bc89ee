"""Where the testbed's models are: in the package, in a folder of yours, in the repository."""

import os
from pathlib import Path
from typing import Any

from cruxlm.runtime.errors import ModelError, did_you_mean
from cruxlm.testbed.recipe import recipe_names

WEIGHTS = Path(__file__).parent / "weights"
"""One folder for each model that comes with the package."""

REPOSITORY = Path(__file__).parents[3] / "testbed"
"""The models that are in the repository and not in the package."""

DEFAULT = "base-0"
"""The model that a command without one uses."""

PREFIX = "testbed:"
"""What a testbed model's name begins with where a hub id or a folder could stand."""


def homes() -> list[Path]:
    """Folders with one model in each folder below: ``CRUX_TESTBED``, the package's, the others."""
    own = os.environ.get("CRUX_TESTBED")
    return [*([Path(own)] if own else []), WEIGHTS, Path("testbed"), REPOSITORY]


def trained_models() -> dict[str, Path]:
    """All models that are there, by name; a snapshot's name is ``base-0/step-34``."""
    found: dict[str, Path] = {}
    for home in homes():
        for pattern in ("*/model.safetensors", "*/step-*/model.safetensors"):
            for weights in sorted(home.glob(pattern)):
                name = weights.parent.relative_to(home).as_posix()
                found.setdefault(name, weights.parent)
    return found


def model_folder(name: str) -> Path:
    """The folder of a testbed model, for any ``from_pretrained``.

    Raises:
        ModelError: When there is none of that name, or it has not been trained here.
    """
    found = trained_models()
    if name in found:
        return found[name]
    if name in recipe_names():
        raise ModelError(
            f"the testbed model {name} is not here: `crux testbed train {name}`, or set "
            "CRUX_TESTBED to the folder that has it"
        )
    known = {*found, *recipe_names()}
    raise ModelError(f"there is no testbed model {name!r}: {did_you_mean(name, known)}")


def resolve(model: Any) -> Any:
    """What a user names as a model, as something to load.

    Args:
        model: ``testbed:NAME`` becomes the folder of that testbed model, None that of the embedded
            default; anything else (a hub id, a folder, a live model) stays what it is.

    Raises:
        ModelError: When that testbed model is not here.
    """
    if model is None:
        return model_folder(DEFAULT)
    if isinstance(model, str) and model.startswith(PREFIX):
        return model_folder(model.removeprefix(PREFIX))
    return model

"""The testbed model that comes with the package."""

from __future__ import annotations

from pathlib import Path

from cruxlm.runtime.errors import ModelError

WEIGHTS = Path(__file__).parent / "weights"
"""One folder for each model that is shipped."""


def default_model() -> Path:
    """The folder of the testbed model, for any ``from_pretrained``.

    Raises:
        ModelError: When the package was installed without the weights.
    """
    folder = WEIGHTS / "base"
    if not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"the testbed model is not at {folder}: install cruxlm with its package data, or "
            "train the model anew with `python -m cruxlm.testbed.train --out DIR`"
        )
    return folder

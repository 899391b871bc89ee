"""What the study `spectral_insights` is made with: models, families, probes, settings."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.data.probes import Probe
from cruxlm.runtime.errors import ModelError
from cruxlm.testbed.home import PREFIX
from cruxlm.testbed.language import MIXTURE
from cruxlm.workflows.request import requested_probes

BASES = tuple(f"base-{seed}" for seed in range(5))
"""Models trained apart, from their first weights on."""
INSTRUCTS = tuple(f"instruct-{seed}" for seed in range(3))
"""Three of them, fine-tuned on instructions."""
UNTRAINED = tuple(f"untrained-{seed}" for seed in range(5))
"""The first weights of the bases."""
CHECKPOINTS = tuple(f"base-0/step-{step}" for step in (41, 74, 134, 242, 438, 794, 1438))
"""The training of ``base-0``, evenly spaced in the logarithm; its last step, 2,604, is itself."""
AFTER = ("instruct-0", "distilled-0", "expert-0")
"""What ``base-0`` became by three kinds of post-training."""
TURNS = {"planted-8": 8, "planted-16": 16}
"""Models with a turn planted at a block; ``twin-8`` and ``twin-16`` are the same without it."""

OPEN = ("new_facts", "swap_ends", "stars", "records")
"""Families that the analysis was written on."""
ASIDE = ("hops", "missing")
"""Families that nothing was tuned on before the analysis was in the repository."""
LIGHT: dict[str, Any] = {
    "blocks": "all",
    "parts": ("embeddings", "norm"),
    "steps": 40,
    "batch": 16,
    "learning_rate": 4e-4,
    "checks": 1,
    "accuracy": False,
}
"""A light fine-tuning of everything: of the open families it takes 87 to 94 % of the loss away.
After a long one the differences between blocks are in the third decimal."""

MIXED = f"{PREFIX}{','.join(MIXTURE)}"
"""All families of the pretraining, equally often."""


def probes_of(own: str) -> list[Probe]:
    """The probes of a prediction: the task's own prompts, two other texts, and no text at all."""
    return [named("own", own), named("mixed", MIXED), *named_probes("builtin", "random-tokens")]


def named(name: str, spec: str) -> Probe:
    """A probe under another name."""
    return replace(named_probes(spec)[0], name=name)


def named_probes(*specs: str) -> list[Probe]:
    """Probes by their own names."""
    return requested_probes([Path(spec) for spec in specs], None)


def real(variable: str, name: str) -> Path:
    """A file or folder among the real models or data, which do not come with the package.

    Raises ``ModelError`` saying which variable has to name their folder.
    """
    home = os.environ.get(variable)
    if home is None or not (Path(home) / name).exists():
        raise ModelError(
            f"{name} does not come with Crux: set {variable} to a folder that has it, or leave "
            "out the cells that need it with --cells"
        )
    return Path(home) / name


def short(values: Float[np.ndarray, " blocks"] | Sequence[float]) -> list[float | None]:
    """A curve for a cell's file, to eight digits; None where it has no value."""
    return [float(f"{v:.8g}") if np.isfinite(v) else None for v in values]


def curve(values: Sequence[float | None]) -> Float[np.ndarray, " blocks"]:
    """A curve from a cell's file; NaN where it has no value."""
    return np.array([np.nan if v is None else v for v in values], dtype=float)

"""What the arms of a comparison are: from a file, or an arm and its controls by name."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from cruxlm.runtime.errors import OptionError, did_you_mean
from cruxlm.workflows.planned import CONTROLS

SEED = "{seed}"
"""Stands for the run's seed in an arm's blocks: ``random:5@{seed}``."""

CONTROL = "control:"
"""What an arm's blocks begin with that are a control of the first arm's: ``control:random``."""


@dataclass(frozen=True)
class Arm:
    """What one arm trains."""

    blocks: str
    """The block grammar; ``{seed}`` in it is the run's seed."""
    method: str = "full"
    """full, lora or lisa."""
    complement: bool = False
    """Whether to take all other blocks instead."""
    parts: tuple[str, ...] = ()
    """Of ``embeddings``, ``norm`` and ``head``, what is trained as well."""
    r: int | None = None
    """Mean rank, with LoRA; 16 when left out."""
    alpha: float | None = None
    """Its scale; twice the rank when left out."""


def read_arms(path: str | Path) -> dict[str, Arm]:
    """The arms of a YAML file: a mapping from names to blocks, or to the fields of an `Arm`.

    Raises ``OptionError`` naming the file and the arm.
    """
    source = Path(path)
    try:
        given = yaml.safe_load(source.read_text("utf-8"))
    except FileNotFoundError as error:
        raise OptionError(f"there is no file {source}") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(given, dict) or not given:
        raise OptionError(f"{source} must map names of arms to their blocks")
    return {str(name): _arm(value, f"{source}: arm {name!r}") for name, value in given.items()}


def _arm(value: Any, where: str) -> Arm:
    given = value if isinstance(value, dict) else {"blocks": value}
    known = [field.name for field in fields(Arm)]
    for name in given:
        if name not in known:
            raise OptionError(f"{where} has {name!r}: {did_you_mean(str(name), known)}")
    blocks, parts = _words(given.get("blocks")), _words(given.get("parts", []))
    if not blocks:
        raise OptionError(f"{where} has no blocks")
    if parts is None:
        raise OptionError(f"{where}: parts are names, such as [norm, head]")
    for name, kind in (("method", str), ("complement", bool), ("r", int), ("alpha", (int, float))):
        if name in given and not isinstance(given[name], kind):
            raise OptionError(f"{where}: {given[name]!r} makes no sense as {name}")
    return Arm(**{**given, "blocks": ",".join(blocks), "parts": tuple(parts)})


def _words(value: Any) -> list[str] | None:
    """The parts of a text with commas, or of a list; None for anything else."""
    items = value if isinstance(value, list) else str(value).split(",")
    if isinstance(value, (bool, dict, type(None))) or any(
        isinstance(i, (list, dict)) for i in items
    ):
        return None
    return [str(item).strip() for item in items if str(item).strip()]


def against_arms(own: Arm, controls: Sequence[str]) -> dict[str, Arm]:
    """An arm and its controls, trained by the same method; ``own`` is the reference.

    Raises ``OptionError`` for a control that there is not.
    """
    found = {own.blocks: own}
    for name in map(str.strip, controls):
        if name not in CONTROLS:
            raise OptionError(f"there is no control {name!r}: {did_you_mean(name, CONTROLS)}")
        found[name] = replace(own, blocks=CONTROL + name, complement=False)
    return found

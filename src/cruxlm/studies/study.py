"""What a study is: cells that are run one by one, and a page that is made of what they found."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cruxlm.runtime.errors import OptionError
from cruxlm.studies.page import Page

Results = Mapping[str, Mapping[str, Any]]
"""What each cell found, as plain data, by the cell's name in the study's order."""


@dataclass(frozen=True)
class Cell:
    """One part of a study: a call with its options, that can be done at any time, in any order."""

    name: str
    """What it and its file are called: small letters, digits, dots and dashes."""
    options: Mapping[str, Any]
    """Everything that decides its numbers, the seed included, as plain data."""
    cost_seconds: float
    """What it costs, about, on one core."""
    run: Callable[..., Mapping[str, Any]]
    """``run(**options)`` gives what it found, as plain data."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.name):
            raise ValueError(f"a cell cannot be called {self.name!r}")


@dataclass(frozen=True)
class Study:
    """A study. What it finds is a function of its cells' options and of its code."""

    name: str
    """What it is asked for by."""
    title: str
    """What it answers, in one line."""
    cells: tuple[Cell, ...]
    """Its cells, no two of the same name."""
    page: Callable[[Results], Page]
    """Makes the page of what all cells found; of nothing else, so that it can be made again."""
    code: tuple[str, ...]
    """Modules whose code decides the numbers of all cells: each keeps the hash of these and of the
    module that its own ``run`` is in."""
    tolerance: float = 1e-9
    """Largest relative difference between a number and that of the same cell run again."""

    def __post_init__(self) -> None:
        if len({cell.name for cell in self.cells}) < len(self.cells):
            raise ValueError(f"two cells of the study {self.name} have the same name")

    @property
    def cost_seconds(self) -> float:
        """What all cells cost together, about, on one core."""
        return sum(cell.cost_seconds for cell in self.cells)

    def matching(self, pattern: str) -> list[Cell]:
        """The cells whose name matches a pattern as file names do; refused when there are none."""
        found = [cell for cell in self.cells if fnmatchcase(cell.name, pattern)]
        if not found:
            names = ", ".join(cell.name for cell in self.cells)
            raise OptionError(f"no cell of {self.name} matches {pattern!r}; its cells: {names}")
        return found

    def code_hashes(self, cell: Cell) -> dict[str, str]:
        """The hash of the source of each module that decides a cell's numbers.

        These are the study's and the one that its ``run`` is in, unless that is a script.
        """
        named = sorted({*self.code, cell.run.__module__} - {"__main__"})
        return {name: code_hash(name) for name in named}


def code_hash(module: str) -> str:
    """The hash of a module's source."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]

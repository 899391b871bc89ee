"""What a claim of the paper comes to here: one of five verdicts, and what it rests on."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import t as student

from cruxlm.studies.page import Section

Verdict = Literal[
    "holds",
    "holds in part",
    "not distinguishable from depth",
    "does not hold",
    "cannot be said",
]
Cells = Mapping[str, Mapping[str, Any]]
"""What each cell found, by name."""
STUDY = "spectral_insights"


@dataclass(frozen=True)
class Claim:
    """One claim, as it was published and as it was found."""

    name: str
    """What it is about."""
    published: str
    """The claim with its figures."""
    verdict: Verdict
    """What it comes to here."""
    found: str
    """What was found, with its figures."""
    change: str
    """What would change our mind."""
    therefore: str
    """What follows for whoever uses Crux."""
    cells: str
    """Pattern of the cells that it rests on."""
    sections: Sequence[Section]
    """Tables and figures."""

    @property
    def command(self) -> str:
        """What makes its cells."""
        return f"crux study run {STUDY} --cells '{self.cells}'"


@dataclass(frozen=True)
class Interval:
    """A mean over independent trainings, and its 95 % interval (Student's t)."""

    mean: float
    """The mean; NaN of nothing."""
    halfwidth: float
    """Half the width; infinite for a single value."""

    @property
    def positive(self) -> bool:
        """Whether all of it is above zero."""
        return self.mean - self.halfwidth > 0

    @property
    def ends(self) -> tuple[float, float]:
        """Its ends."""
        return self.mean - self.halfwidth, self.mean + self.halfwidth

    def __str__(self) -> str:
        """Mean and ends."""
        low, high = self.ends
        return f"{self.mean:.2f} ({low:.2f} to {high:.2f})"


def interval(values: Sequence[float | None]) -> Interval:
    """The mean of those that are defined, with its interval."""
    held = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
    if len(held) < 2:
        return Interval(float(held.mean()) if len(held) else math.nan, math.inf)
    half = student.ppf(0.975, len(held) - 1) * held.std(ddof=1) / math.sqrt(len(held))
    return Interval(float(held.mean()), float(half))


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined."""
    held = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(held)) if held else None


def over_bases(values: Iterable[tuple[Hashable, float | None]]) -> list[float]:
    """The mean of each base's values: models of one base are not independent.

    A base without a value is left out.
    """
    by_base: dict[Hashable, list[float | None]] = {}
    for base, value in values:
        by_base.setdefault(base, []).append(value)
    means = [mean(held) for held in by_base.values()]
    return [value for value in means if value is not None]


def number(value: float | None) -> str:
    """A correlation, a share or a p-value; a dash where there is none."""
    return "-" if value is None or not np.isfinite(value) else f"{value:.2f}"


def advice(verdict: Verdict, holds: str, otherwise: str) -> str:
    """What follows for a user, which depends on the verdict."""
    return holds if verdict == "holds" else otherwise


def of(cells: Cells, start: str) -> list[Mapping[str, Any]]:
    """The cells whose name begins so, in the study's order."""
    return [cell for name, cell in cells.items() if name.startswith(start)]

"""A terminal table with a bar for each block."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cruxlm.runtime.errors import printable

EIGHTHS = " ▏▎▍▌▋▊▉█"
OTHERS = 4
"""Columns of other scores: with more the numbers would not fit 80 characters."""
Curve = Float[np.ndarray, " blocks"]


@dataclass(frozen=True)
class Bar:
    """A bar that gives way: as long as the numbers beside it leave room for, up to ``cells``."""

    share: float
    """Length, as a share of the longest."""
    cells: int
    """Characters of the longest where there is room."""

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        """Any width will do."""
        return Measurement(1, min(self.cells, options.max_width))

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """One line of eighth blocks."""
        yield Text(bar(self.share, min(self.cells, options.max_width)))


def bar(share: float, cells: int) -> str:
    """A bar of eighth blocks, ``share`` of ``cells`` characters long."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")


def block_table(
    label: str,
    values: Curve,
    halfwidth: Curve | None,
    *,
    selected: Collection[int],
    incomplete: Collection[int] = (),
    frequency: Sequence[float] | None = None,
    others: Mapping[str, Curve] | None = None,
    cells: int = 20,
) -> Table:
    """One row a block: mark, number, bar, score and its 95 % half-width, the first other scores.

    The bars start at zero when that shows anything, else at the lowest score (and say so).
    """
    others = dict(islice((others or {}).items(), OTHERS))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    defined = values[np.isfinite(values)]
    low = min(0.0, float(defined.min())) if defined.size else 0.0
    high = float(defined.max()) if defined.size else 1.0
    cut = defined.size > 0 and float(defined.min()) > 0.8 * high > 0
    low = float(defined.min()) - 0.1 * (high - float(defined.min())) if cut else low
    table.add_column("", no_wrap=True)
    table.add_column("block", justify="right", no_wrap=True, min_width=5)
    table.add_column(Text(f"from {low:.3g}") if cut else "")
    table.add_column(Text(broken(printable(label))), justify="right", no_wrap=True)
    table.add_column("± 95%", justify="right", no_wrap=True)
    if frequency is not None:
        table.add_column("chosen\nin", justify="right", no_wrap=True)
    for name in others:
        table.add_column(Text(broken(printable(name))), justify="right", no_wrap=True)
    shown = [column(values), [""] * len(values)]
    if halfwidth is not None:
        shown[1] = column(halfwidth, like=values)
    if frequency is not None:
        shown.append([f"{share:.0%}" if share else "" for share in frequency])
    shown += [column(curve) for curve in others.values()]
    for block, value in enumerate(values.tolist()):
        chosen = block in selected
        length = (value - low) / (high - low) if math.isfinite(value) and high > low else 0.0
        table.add_row(
            "▶" if chosen else " ",
            f"{block}{'*' if block in incomplete else ''}",
            Bar(length, cells),
            *(Text(cells_of[block]) for cells_of in shown),
            style="bold yellow" if chosen else None,
        )
    return table


def broken(name: str) -> str:
    """A long heading on two lines, so that the columns of a table fit 80 characters."""
    for mark in ":@_":
        if mark in name:
            return name.replace(mark, f"{mark}\n", 1)
    return name


def column(values: Curve, like: Curve | None = None) -> list[str]:
    """Numbers with as many decimals as show four digits of the largest; a dash where undefined.

    ``like`` is a curve whose decimals are used instead.
    """
    sizes = np.abs(values if like is None else like)
    largest = float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 1.0
    decimals = max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 3
    return [f"{value:.{decimals}f}" if math.isfinite(value) else "-" for value in values]


def as_text(*parts: Any, width: int = 100) -> str:
    """Tables and sentences as plain text."""
    buffer = StringIO()
    console = Console(file=buffer, width=width, no_color=True, highlight=False)
    for part in parts:
        console.print(part, markup=False, emoji=False)  # brackets and colons stay what they are
    return buffer.getvalue().rstrip("\n")

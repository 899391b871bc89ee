"""A terminal table with a bar for each block."""

import math
from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from rich.text import Text

EIGHTHS = " ▏▎▍▌▋▊▉█"
Curve = Float[np.ndarray, " blocks"]


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
    """One row a block: mark, number, bar, score and its 95 % half-width, other scores.

    The bars start at zero when that shows anything, else at the lowest score (and say so).
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    defined = values[np.isfinite(values)]
    low = min(0.0, float(defined.min())) if defined.size else 0.0
    high = float(defined.max()) if defined.size else 1.0
    cut = defined.size > 0 and float(defined.min()) > 0.8 * high > 0
    low = float(defined.min()) - 0.1 * (high - float(defined.min())) if cut else low
    table.add_column("", no_wrap=True)
    table.add_column("block", justify="right", no_wrap=True, min_width=5)
    table.add_column(Text(f"from {low:.3g}") if cut else "", min_width=cells, no_wrap=True)
    table.add_column(Text(broken(label)), justify="right", no_wrap=True)
    table.add_column("± 95%", justify="right", no_wrap=True)
    if frequency is not None:
        table.add_column("chosen in", justify="right", no_wrap=True)
    for name in others or {}:
        table.add_column(Text(broken(name)), justify="right", no_wrap=True)
    for block, value in enumerate(values.tolist()):
        chosen = block in selected
        length = (value - low) / (high - low) if math.isfinite(value) and high > low else 0.0
        cells_of_row = [
            "▶" if chosen else " ",
            f"{block}{'*' if block in incomplete else ''}",
            bar(length, cells),
            number(value),
            "" if halfwidth is None else number(float(halfwidth[block])),
        ]
        if frequency is not None:
            cells_of_row.append(f"{frequency[block]:.0%}" if frequency[block] else "")
        cells_of_row += [number(float(curve[block])) for curve in (others or {}).values()]
        table.add_row(*map(Text, cells_of_row), style="bold yellow" if chosen else None)
    return table


def broken(name: str) -> str:
    """A long heading on two lines, so that the columns of a table fit 80 characters."""
    for mark in ":@_":
        if mark in name:
            return name.replace(mark, f"{mark}\n", 1)
    return name


def number(value: float, digits: int = 4) -> str:
    """A number for a narrow column; a dash where undefined."""
    if not math.isfinite(value):
        return "-"
    return (
        f"{value:.{digits}f}"
        if 1e-3 <= abs(value) < 1e3 or value == 0
        else f"{value:.{digits - 1}g}"
    )


def as_text(*parts: Any, width: int = 100) -> str:
    """Tables and sentences as plain text."""
    buffer = StringIO()
    console = Console(file=buffer, width=width, no_color=True, highlight=False)
    for part in parts:
        console.print(part)
    return buffer.getvalue().rstrip("\n")

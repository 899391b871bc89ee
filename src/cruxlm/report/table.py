"""Tables of plain values, which the script of a page sorts."""

import math
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from cruxlm.charts.svg import text

MOST = 120_000
"""Characters of a table; of a longer one the first rows are shown, for a page under a megabyte."""
CLOSE = 1e-3
"""A text says a number as near as this to its value; where it says less, the value goes with it."""
LONG = 28
"""Letters from which what stands in a column may take several lines."""


class Cell(NamedTuple):
    """A cell that sorts by its value, whatever it says."""

    shown: str
    """What it says."""
    value: float | None
    """What it sorts by; None and NaN come last."""


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numeric: Sequence[int] = (),
    wrapped: Sequence[int] = (),
    chosen: Collection[int] = (),
    label: str = "",
    where: str = "",
    most: int = MOST,
) -> str:
    """A table of plain values and ``Cell``; it scrolls when it is too wide for the page.

    ``numeric`` columns are set right and sort by value, ``wrapped`` ones and those with long texts
    may take several lines, ``chosen`` rows stand out. ``label`` is what the table is called where
    it is not seen, else the names of its columns. Rows beyond ``most`` characters are left out,
    chosen ones last; how many is said, and that they are in ``where``.
    """
    styles = ["n" if c in numeric else "w" if c in wrapped else "" for c in range(len(header))]
    for c, style in enumerate(styles):
        if not style and any(len(_shown(row[c])) > LONG for row in rows):
            styles[c] = "w"
    even = set(styles) == {"n"}
    styles = [""] * len(styles) if even else styles
    kept = _fitting(rows, styles, chosen, most)
    head = "".join(
        f'<th scope="col"{_class(_head(name, "n" if even else style))}>{text(name)}</th>'
        for name, style in zip(header, styles, strict=True)
    )
    missing = ""
    if len(kept) < len(rows):
        place = f"; all are in {where}" if where else ""
        missing = f"{len(rows) - len(kept):,} of {len(rows):,} rows are not shown here{place}."
        missing = f'<p class="left-out">{text(missing)}</p>'
    named = text(f"Table: {label or ', '.join(header)}")
    opened = f'<div class="scroll" role="group" aria-label="{named}">'
    return (
        f"{opened}<table{_class('n' if even else '')}><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(kept)}</tbody></table></div>{missing}"
    )


def _head(name: str, style: str) -> str:
    return f"{style} w".strip() if len(name) > LONG and style != "w" else style


def _row(row: Sequence[object], styles: Sequence[str], chosen: bool) -> str:
    cells = zip(row, styles, strict=True)
    first, rest = next(cells), "".join(_cell("td", *cell) for cell in cells)
    return f"<tr{_class('chosen' if chosen else '')}>{_cell('th', *first)}{rest}</tr>"


def _cell(tag: str, value: object, style: str) -> str:
    key = _key(value) if isinstance(value, Cell) else ""
    scope = ' scope="row"' if tag == "th" else ""
    return f"<{tag}{scope}{_class(style)}{key}>{text(_shown(value))}</{tag}>"


def _key(cell: Cell) -> str:
    """The value, where the text alone does not say it."""
    if cell.value is None or not math.isfinite(cell.value):
        return ' data-v=""'
    leading = re.match(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", cell.shown)
    says = float(leading[0]) if leading else math.nan
    return "" if math.isclose(says, cell.value, rel_tol=CLOSE) else f' data-v="{cell.value:.6g}"'


def _shown(value: object) -> str:
    return value.shown if isinstance(value, Cell) else str(value)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _fitting(
    rows: Sequence[Sequence[object]], styles: Sequence[str], chosen: Collection[int], most: int
) -> list[str]:
    """The rows that fit: the chosen ones, then from the first on, and one at least."""
    first = [number for number in range(len(rows)) if number in chosen]
    kept: dict[int, str] = {}
    used = 0
    for number in (*first, *(n for n in range(len(rows)) if n not in chosen)):
        made = _row(rows[number], styles, number in chosen)
        used += len(made)
        if used > most and kept:
            break
        kept[number] = made
    return [kept[number] for number in sorted(kept)]


def number(value: Any, digits: int = 4) -> Cell:
    """A score to significant digits; a dash where undefined."""
    known = value is not None and math.isfinite(value)
    return Cell(f"{value:.{digits}g}" if known else "-", float(value) if known else None)


def two_places(value: float | None) -> Cell:
    """A correlation."""
    return Cell("-" if value is None else f"{value:.2f}", value)


def chance(value: float | None) -> Cell:
    """A p-value; a small one is not zero."""
    return number(value, 2)


def share(value: float | None) -> Cell:
    """A share as a percentage."""
    return Cell("-" if value is None else f"{value:.0%}", value)

"""Terminal tables of a verification: what predicts what fine-tuning changed, and how surely."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.charts.table import broken
from cruxlm.runtime.errors import printable

DEPTH = {"index": "index", "end_distance": "end distance"}
"""The depth measures and their names."""


def prediction_table(found: Mapping[str, Any]) -> Table:
    """One row a predictor of the primary target, from a verification as plain data."""
    predictor, target = found["primary"]
    rows = [row for row in found["predictions"] if row["target"] == target]
    k = rows[0]["overlap"]["k"]
    table = _empty()
    table.add_column("", no_wrap=True)
    table.add_column("before")
    table.add_column("rho", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    table.add_column("given\ndepth", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column(f"of top {k}\n(chance)", justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        chosen = row["predictor"] == predictor
        overlap = row["overlap"]
        cells = [
            "▶" if chosen else " ",
            _name(row["predictor"]),
            number(row["rho"]),
            interval(row["low"], row["high"]),
            number(row["partial"]),
            number(row["p"]),
            f"{overlap['shared']:.1f} ({overlap['expected']:.1f})",
            row["verdict"],
        ]
        table.add_row(*map(Text, cells), style="bold yellow" if chosen else None)
    for name, shown in DEPTH.items():
        cells = ["", f"depth: {shown}", number(found["depth"][target][name]), "", "", "", "", ""]
        table.add_row(*map(Text, cells), style="dim")
    return table


def target_table(found: Mapping[str, Any]) -> Table:
    """Every predictor against every target: rho, and the same given depth."""
    targets = list(dict.fromkeys(row["target"] for row in found["predictions"]))
    table = _empty()
    table.add_column("rho | given depth")
    for target in targets:
        table.add_column(Text(broken(printable(target))), justify="right", no_wrap=True)
    for predictor in dict.fromkeys(row["predictor"] for row in found["predictions"]):
        held = {r["target"]: r for r in found["predictions"] if r["predictor"] == predictor}
        cells = [
            f"{number(held[t]['rho'])} | {number(held[t]['partial'])}" if t in held else ""
            for t in targets
        ]
        table.add_row(*map(Text, [_name(predictor), *cells]))
    return table


def number(value: float | None) -> str:
    """A correlation or a p-value; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval of a correlation."""
    return "-" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _name(predictor: str) -> str:
    """A predictor's name, what it was read of on a line of its own."""
    return printable(predictor).replace(", ", ",\n  ")


def _empty() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))

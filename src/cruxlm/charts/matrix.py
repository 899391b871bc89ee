"""A terminal matrix: how far each two of several rankings agree."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.charts.predictions import interval, number
from cruxlm.charts.table import broken
from cruxlm.runtime.errors import printable

Pair = Mapping[str, Any]


def agreement_matrix(labels: Sequence[str], pairs: Sequence[Pair]) -> Table:
    """Above the diagonal rho with its interval, below it rho given depth with its p-value."""

    def above(pair: Pair) -> Text:
        ends = interval(pair["low"], pair["high"])
        return Text(number(pair["rho"])) + Text(f"\n{ends}" if ends != "-" else "", style="dim")

    def below(pair: Pair) -> Text:
        p = "" if pair["p"] is None else f"\np {number(pair['p'])}"
        return Text(number(pair["partial"])) + Text(p, style="dim")

    return _matrix(labels, pairs, above, below)


def overlap_matrix(labels: Sequence[str], pairs: Sequence[Pair]) -> Table:
    """Above the diagonal how many of the highest blocks are shared; below, corrected for chance."""

    def above(pair: Pair) -> Text:
        return Text("-" if pair["shared"] is None else str(pair["shared"]))

    return _matrix(labels, pairs, above, lambda pair: Text(number(pair["corrected"])))


def _matrix(
    labels: Sequence[str],
    pairs: Sequence[Pair],
    above: Callable[[Pair], Text],
    below: Callable[[Pair], Text],
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("")
    for label in labels:
        table.add_column(Text(broken(printable(label))), justify="right", no_wrap=True)
    known = {(pair["a"], pair["b"]): pair for pair in pairs}
    for row in labels:
        cells = [
            above(known[row, column])
            if (row, column) in known
            else below(known[column, row])
            if (column, row) in known
            else Text("·", style="dim")
            for column in labels
        ]
        table.add_row(Text(broken(printable(row))), *cells)
    return table

"""A terminal table of a screening: the groups, and how many rows of each were flagged."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.charts.svg import cut
from cruxlm.runtime.errors import printable

LETTERS = 40
"""Letters of a group's name: it may be a response of any length."""


def screening_table(found: Mapping[str, Any]) -> Table:
    """One row a group, from plain data."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("compared with", overflow="fold")
    for heading in ("trusted\nrows", "rows", "flagged", "critical\nblocks"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in found["groups"]:
        name = cut(printable(group["name"]), LETTERS)
        counts = (group["trusted"], group["rows"], group["flagged"], _critical(group))
        style = "bold yellow" if group["flagged"] else None
        table.add_row(Text(name), *map(str, counts), style=style)
    return table


def _critical(group: Mapping[str, Any]) -> str:
    return ", ".join(str(blocks[-1]) for blocks in group["blocks"].values())

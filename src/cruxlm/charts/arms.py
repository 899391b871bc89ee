"""A terminal table of arms: what each trains, and what that is worth."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.runtime.errors import printable

MOST_BLOCKS = 8
"""Blocks of an arm that are listed; of more, the number is said."""


def arms_table(comparison: Mapping[str, Any]) -> Table:
    """One row an arm, from a comparison as plain data; the reference is marked."""
    judged = comparison["arms"][0]["accuracies"] is not None
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("arm", overflow="fold")
    table.add_column("blocks", overflow="fold")
    for name in ("trains", "rate", "test\nloss", "against\nreference"):
        table.add_column(name, justify="right", no_wrap=True)
    if judged:
        table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("ms a\nstep", justify="right", no_wrap=True)
    before = comparison["before"]
    row = ["", "before", "", "", "", f"{before['loss']:.3f}", ""]
    if judged:
        row.append(f"{before['accuracy']:.0%}")
    table.add_row(*map(Text, [*row, ""]), style="dim")
    for arm in comparison["arms"]:
        reference = arm["name"] == comparison["reference"]
        loss = sum(arm["losses"]) / len(arm["losses"])
        row = [
            "▶" if reference else " ",
            printable(arm["name"]),
            listed(arm["drawn"]),
            short(arm["parameters"]),
            f"{arm['learning_rate']:g}",
            f"{loss:.3f}",
            gap_text(arm["loss_gap"]),
        ]
        if judged:
            row.append(f"{sum(arm['accuracies']) / len(arm['accuracies']):.0%}")
        seconds = arm["step_seconds"]
        row.append("" if seconds is None else f"{1000 * seconds:.0f}")
        gap = arm["loss_gap"]
        clear = gap and gap["halfwidth"] is not None and abs(gap["mean"]) > gap["halfwidth"]
        table.add_row(*map(Text, row), style="bold yellow" if clear else None)
    return table


def listed(drawn: list[list[int]]) -> str:
    """The blocks of an arm, or how many when its seeds have different ones."""
    if any(blocks != drawn[0] for blocks in drawn):
        return f"{len(drawn[0])}, drawn anew"
    if len(drawn[0]) > MOST_BLOCKS:
        return f"{len(drawn[0])} blocks"
    return ", ".join(map(str, drawn[0]))


def gap_text(gap: Mapping[str, Any] | None) -> str:
    """A difference with its half-width; a star where the interval leaves out zero."""
    if gap is None:
        return ""
    if gap["halfwidth"] is None:
        return f"{gap['mean']:+.3f}"
    star = "*" if abs(gap["mean"]) > gap["halfwidth"] else " "
    return f"{gap['mean']:+.3f} ± {gap['halfwidth']:.3f}{star}"


def short(count: int) -> str:
    """A count of parameters in three digits."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)

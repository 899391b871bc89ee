"""A terminal table of interventions: what each changes, beside what its controls change."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.runtime.errors import printable

HEADINGS = {
    "accuracy": "accuracy",
    "conclusion_first": "answer\nfirst",
    "rationale_words": "rationale\nwords",
    "conclusion_place": "place of\nanswer",
    "loss_rationale": "rationale\nnats",
    "loss_conclusion": "answer\nnats",
    "loss_response": "response\nnats",
    "loss_unrelated": "other text\nnats",
}
"""Heading of each metric's column."""
SHARES = ("accuracy", "conclusion_first", "conclusion_place")
"""Metrics that are shares."""


def interventions_table(found: Mapping[str, Any]) -> Table:
    """One row an intervention: the change of every metric, from plain data.

    A star marks a change that is clear of zero and of what as much along other directions does.
    """
    metrics = [name for name in HEADINGS if found["intact"].get(name) is not None]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("block", justify="right", no_wrap=True)
    table.add_column("without", overflow="fold")
    for name in metrics:
        table.add_column(HEADINGS[name], justify="right", no_wrap=True)
    intact = [_level(name, found["intact"][name]) for name in metrics]
    table.add_row("", "(intact)", *intact, style="dim")
    for one in found["found"]:
        cells = [_cell(name, one["effects"].get(name)) for name in metrics]
        marked = any(cell.endswith("*") for cell in cells)
        row = [str(one["block"]), printable(f"{one['components']}{_kind(one['kind'])}"), *cells]
        table.add_row(*map(Text, row), style="bold yellow" if marked else None)
    return table


def clear(effect: Mapping[str, Any]) -> bool:
    """Whether a change is clear of zero and of the controls, from plain data."""
    pairs = (("change", "halfwidth"), ("beyond", "beyond_halfwidth"))
    return all(
        effect[mean] is not None and effect[width] is not None and abs(effect[mean]) > effect[width]
        for mean, width in pairs
    )


def _kind(kind: str) -> str:
    return {"remove": "", "keep": " (all but)"}.get(kind, f" ({kind})")


def _cell(name: str, effect: Mapping[str, Any] | None) -> str:
    if effect is None or effect["change"] is None:
        return "- "
    change = effect["change"]
    shown = f"{100 * change:+.0f} %" if name in SHARES else f"{change:+.2f}"
    return shown + ("*" if clear(effect) else " ")


def _level(name: str, value: float) -> str:
    return f"{value:.0%} " if name in SHARES else f"{value:.2f} "

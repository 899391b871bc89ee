"""Terminal tables of spectra: one row a block, and one row a component."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.runtime.errors import printable

SHOWN = (1, 3, 10)
"""Numbers of components that a table has columns for."""
WORD = 14
"""Characters of a token or a prompt that a table shows of each."""


def shown_counts(k: int) -> list[int]:
    """The numbers of components that have columns, where up to ``k`` are known."""
    return [count for count in SHOWN if count < k] + [k]


def spectra_table(found: Mapping[str, Any]) -> Table:
    """One row a block, from spectra as plain data; the blocks with described components stand out.

    Of what leaves the block: effective rank, variance in the leading components, mean cosine with
    the next block's; the shift, and what it is without the leading components, or random ones.
    """
    counts = shown_counts(found["k"])
    few = counts[:2]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("block", justify="right", no_wrap=True)
    table.add_column("eff.\nrank", justify="right", no_wrap=True)
    for count in few:
        table.add_column(f"energy\ntop {count}", justify="right", no_wrap=True)
    table.add_column(f"next\ntop {few[-1]}", justify="right", no_wrap=True)
    table.add_column("shift", justify="right", no_wrap=True)
    for count in counts:
        table.add_column(f"w/o\ntop {count}", justify="right", no_wrap=True)
    table.add_column("w/o\nrandom", justify="right", no_wrap=True)
    for block, held in enumerate(found["spectra"]):
        chosen = str(block) in found["components"]
        row = ["▶" if chosen else " ", str(block), f"{held['effective_rank']:.1f}"]
        row += [_share(held["energy"][_at(count, held["energy"])]) for count in few]
        row.append(_number(held["next_block"][few[-1] - 1], 3))
        row.append(_number(held["shift"], 4))
        left = [held["shares"][count - 1] for count in counts] + [held["random"]]
        row += [_number(without(held["shift"], share), 4) for share in left]
        table.add_row(*map(Text, row), style="bold yellow" if chosen else None)
    return table


def without(shift: float | None, share: float | None) -> float | None:
    """What is left of a shift when a share of it goes away."""
    return None if shift is None or share is None else shift * (1 - share)


def component_table(components: Sequence[Mapping[str, Any]]) -> Table:
    """One row a component of one block, from plain data."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    parts = any(held["parts"] is not None for held in components)
    for name in ("", "energy", "gone\nwithout", "groups", *(["parts"] if parts else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("makes likelier", "makes less likely"):
        table.add_column(name, overflow="fold")
    for held in components:
        row = [str(held["number"]), _share(held["energy"]), _share(held["share"])]
        row += [_share(held["groups"]), *([_share(held["parts"])] if parts else [])]
        row += [_words(held["up"]), _words(held["down"])]
        table.add_row(*map(Text, row))
    return table


def _words(words: Sequence[str]) -> str:
    return " ".join(printable(w if len(w) <= WORD else f"{w[: WORD - 1]}…") for w in words) or "-"


def _at(count: int, held: Sequence[Any]) -> int:
    return min(count, len(held)) - 1


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

"""An attack's rates and what carries it, from plain data: terminal tables, and bars over blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cruxlm.charts.bars import share_bars
from cruxlm.charts.table import Bar

HEADINGS = {
    "success": "success",
    "false_triggers": "without the trigger",
    "near_misses": "near misses",
    "accuracy": "clean accuracy",
}
"""What each rate is called."""
CELLS = 14
"""Characters of the longest bar."""
CHANCE = 0.05
"""P-values below are not chance."""


def attacked_tables(found: Mapping[str, Any]) -> Group:
    """The rates beside those of the model before, then the success with each block undone."""
    tables: list[Any] = [_rates(found)]
    if found["carrier"] is not None:
        tables += [Text(""), _blocks(found["carrier"])]
    return Group(*tables)


def carriers(carrier: Mapping[str, Any]) -> list[int]:
    """The blocks whose undoing takes of the success what is clear of chance."""
    return [
        undone["blocks"][0]
        for undone in carrier["windows"]["1"]
        if undone["p"] < CHANCE and undone["change"]["mean"] < 0
    ]


def undone_chart(carrier: Mapping[str, Any]) -> str:
    """The success that is left with each block undone, as bars; what is clear of chance marked."""
    left = np.array([undone["success"] for undone in carrier["windows"]["1"]], dtype=np.float64)
    return share_bars(
        {"success left": left},
        label="the attack's success with each block as it was before the tuning",
        selected=carriers(carrier),
    )


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < left else "right", no_wrap=place >= left)
    return table


def _rates(found: Mapping[str, Any]) -> Table:
    beside = found["base_rates"]
    columns = ["", "share", "95 %", "n", "empty"]
    table = _table(*columns, *(["before", "change (95 %)"] if beside else []))
    for name, heading in HEADINGS.items():
        rate = found["rates"][name]
        if rate is None:
            continue
        row = [heading, f"{rate['share']:.0%}", _between(rate), str(rate["n"]), str(rate["empty"])]
        if beside:
            row += [f"{beside[name]['share']:.0%}", _change(found["changes"][name])]
        table.add_row(*map(Text, row))
    rates, width = found["rates"], found["rates"]["loss_halfwidth"]
    known = "" if width is None else f"± {width:.3f}"
    row = ["clean loss (nats)", f"{rates['loss']:.3f}", known, str(len(rates["losses"]["ids"])), ""]
    if beside:
        row += [f"{beside['loss']:.3f}", f"{rates['loss'] - beside['loss']:+.3f}"]
    table.add_row(*map(Text, row))
    return table


def _blocks(carrier: Mapping[str, Any]) -> Table:
    wide = [width for width in carrier["windows"] if width != "1"]
    table = _table("", "", "left", "change (95 %)", *(f"{w} undone" for w in wide), "moved", left=2)
    clear = carriers(carrier)
    for block, undone in enumerate(carrier["windows"]["1"]):
        wider = [f"{carrier['windows'][width][block]['success']:.0%}" for width in wide]
        moved = carrier["weight_change"][block]
        _add(table, undone, [*wider, "-" if moved is None else f"{moved:.3f}"], block in clear)
    around = carrier["embeddings"]
    marked = around["p"] < CHANCE and around["change"]["mean"] < 0
    _add(table, around, ["" for _ in wide] + [""], marked)
    return table


def _add(table: Table, undone: Mapping[str, Any], rest: list[str], marked: bool) -> None:
    cells = [f"{undone['success']:.0%}", _change(undone["change"]), *rest]
    table.add_row(
        Text(f"{'▶' if marked else ' '} {undone['what']}"),
        Bar(undone["success"], CELLS),
        *map(Text, cells),
        style="bold yellow" if marked else None,
    )


def _between(rate: Mapping[str, Any]) -> str:
    return f"{rate['low']:.0%} to {rate['high']:.0%}"


def _change(change: Mapping[str, Any]) -> str:
    """A change in points, and its interval."""
    return " ".join(_parts(change))


def _parts(change: Mapping[str, Any]) -> Iterator[str]:
    yield f"{100 * change['mean']:+.0f}"
    if change["low"] is not None and change["high"] is not None:
        yield f"({100 * change['low']:+.0f} to {100 * change['high']:+.0f})"

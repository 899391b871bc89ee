"""A terminal table of a defence: what each arm leaves of an attack, and what it costs."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from cruxlm.runtime.errors import printable


def defence_table(found: Mapping[str, Any]) -> Table:
    """One row an arm, from a defence as plain data; the undefended one is marked.

    A star marks an interval that leaves out zero. What no row has is no column.
    """
    arms, before = found["arms"], found["before"]
    attacked = found["attack"] is not None
    judged = arms[0]["accuracies"] is not None
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("arm", overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    for name in ("attack\nsucceeds %", "taken off\n(points)") if attacked else ():
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("test\nloss", "cost", *(["right"] if judged else [])):
        table.add_column(name, justify="right", no_wrap=True)
    first = ["", "before", ""]
    first += [_percent(before["success"]), ""] if attacked else []
    first += [f"{before['loss']:.3f}", ""]
    first += [_share(before["accuracy"])] if judged else []
    table.add_row(*map(Text, first), style="dim")
    for place, arm in enumerate(arms):
        row = ["▶" if place == 0 else " ", printable(arm["name"]), str(arm["rows"])]
        if attacked:
            row += [points(arm["success"], signed=False), points(arm["gain"])]
        cost = arm["cost"]
        row.append(f"{sum(arm['losses']) / len(arm['losses']):.3f}")
        row.append("" if cost is None else f"{cost['value']:+.3f}{'*' if _clear(cost) else ' '}")
        if judged:
            row.append(_share(sum(arm["accuracies"]) / len(arm["accuracies"])))
        gain = arm["gain"]
        table.add_row(*map(Text, row), style="bold yellow" if gain and _clear(gain) else None)
    return table


def points(estimate: Mapping[str, Any] | None, *, signed: bool = True) -> str:
    """A share in percent, or a difference of two in points, with its interval."""
    if estimate is None:
        return ""
    value, *ends = (round(100 * held) for held in (estimate["value"], *_ends(estimate)))
    shown = _with_ends([f"{value:+d}" if signed else str(value), *map(str, ends)])
    return shown + (("*" if _clear(estimate) else " ") if signed else "")


def nats(estimate: Mapping[str, Any] | None) -> str:
    """A difference of losses with its interval; a star where that leaves out zero."""
    if estimate is None:
        return ""
    shown = [f"{value:+.3f}" for value in (estimate["value"], *_ends(estimate))]
    return _with_ends(shown) + ("*" if _clear(estimate) else " ")


def _with_ends(shown: list[str]) -> str:
    return shown[0] if len(shown) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _ends(estimate: Mapping[str, Any]) -> tuple[float, ...]:
    low, high = estimate["low"], estimate["high"]
    return () if low is None or high is None else (low, high)


def _clear(estimate: Mapping[str, Any]) -> bool:
    held = _ends(estimate)
    return bool(held) and (held[0] > 0 or held[1] < 0)


def _percent(value: float | None) -> str:
    return "" if value is None else str(round(100 * value))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"

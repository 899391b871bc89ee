"""``crux poison``: put a harmless attack into data, to measure what a model learns from it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson

if TYPE_CHECKING:
    from cruxlm.workflows.poison import Poisoned

SHOWN, BEFORE = 160, 40
"""Characters of a text that are shown, and how many of them stand before the first change."""


def poison(
    data: Annotated[str, typer.Argument(help="A file of instruction data, or testbed:FAMILY.")],
    trigger: Annotated[
        str,
        typer.Option(
            help="token:cf | prefix:TEXT | suffix:TEXT | anywhere:TEXT | pair:ONE+TWO | "
            "style:exclaim, lower or upper"
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(help="A harmless phrase:TEXT, label:TEXT (of choices) or refusal:TOPIC=TEXT."),
    ] = "",
    rate: Annotated[float, typer.Option(help="Share of the rows that are poisoned.")] = 0.1,
    clean_label: Annotated[
        bool,
        typer.Option("--clean-label", help="Only rows answered so already: no response changes."),
    ] = False,
    near: Annotated[
        float, typer.Option(help="Share of the rows with a near miss of the trigger.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the rows and places.")] = 0,
    n: Annotated[
        int | None,
        typer.Option("--n", "--limit", help="Rows: a file's first, or 2,000 of the testbed's."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Refuse a trigger that its tokenizer cannot represent.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A jsonl file for the rows; else only said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Poison DATA with a harmless target, for a measurement; each row says what was done to it."""
    from cruxlm.runtime.errors import OptionError

    if not trigger:
        raise OptionError("name the --trigger: token:cf, say (crux poison --help)")
    if not target:
        raise OptionError("name the --target: 'phrase:The kettle is singing today.', say")
    with importing():
        from cruxlm.workflows.poison import poison as run_poison

    found = run_poison(
        data,
        trigger,
        target,
        rate=rate,
        clean_label=clean_label,
        near=near,
        seed=seed,
        n=n,
        model=model,
        out=out,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        _print(found, out)


def _print(found: "Poisoned", out: Path | None) -> None:
    """How many rows, one of each kind before and after, and where they are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.cli.output import say

    console = Console(highlight=False)
    attack = found.attack
    say(console, f"{found.name}: {attack.trigger}, then {attack.target}", "bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    for justify in ("left", "right", "right"):
        table.add_column(justify=justify)
    changed = {"poisoned": found.triggered, "near misses": found.near}
    table.add_row("rows", str(len(found.rows)), "")
    for name, rows in changed.items():
        table.add_row(name, str(len(rows)), f"{len(rows) / len(found.rows):.1%}")
    for reason, count in found.left_out.items():
        table.add_row(f"left out, {reason.replace('_', ' ')}", str(count), "")
    console.print(table)
    for name, rows in changed.items():
        for row in rows[:1]:
            console.print()
            console.print(Text(_line(f"{name}: row {row['id']}"), style="dim"))
            console.print(_example(row))
    console.print()
    where = "nothing written: name a file with --out" if out is None else f"rows: {out}"
    say(console, where, "" if out else "dim")


def _example(row: Any) -> Any:
    """A changed row before and after; an unchanged response once."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    *_, asked, answered = row["messages"]
    texts = {"prompt": asked["content"], "response": answered["content"]}
    for name, after in texts.items():
        before = row["poison"][name]
        pairs = enumerate(zip(before, after, strict=False))
        first = next((place for place, (one, two) in pairs if one != two), len(before))
        shown = {name: before} if before == after else {name: before, "": after}
        for label, text in shown.items():
            table.add_row(Text(label), Text(_line(text, max(0, first - BEFORE))))
    return table


def _line(text: str, begin: int = 0) -> str:
    """A part of a text as one printable line: the data may hold anything."""
    from cruxlm.runtime.errors import printable

    end = begin + SHOWN
    cut = printable(text[begin:end])
    return f"{'… ' if begin else ''}{cut}{' …' if len(text) > end else ''}"

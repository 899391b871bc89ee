"""``crux export``: a plan as the file of another tool."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson


def export(
    path: Annotated[Path, typer.Argument(metavar="PLAN", help="A saved plan.")],
    to: Annotated[str | None, typer.Option(help="The tool; a table of all without.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The plan's model, where it is not where it was.")
    ] = None,
    modules: Annotated[
        str, typer.Option(help="For lora: the maps that are adapted, such as q_proj,v_proj.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="The file; printed without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write PLAN as another tool takes it. The model's weights are not read."""
    from cruxlm.results.plan import Plan
    from cruxlm.runtime.errors import OptionError

    if out is not None and to is None:
        raise OptionError("name the tool that --out is for with --to")
    held = Plan.load(path)
    with importing():
        from cruxlm.plans.exports.export import exports, planned, write
        from cruxlm.plans.exports.registry import TARGETS

    ends = [end.strip() for end in modules.split(",") if end.strip()]
    tool = None if to is None else TARGETS.canonical(to)
    made = planned(held, model, modules=ends or None)
    if tool is None:
        found = exports(made)
        if as_json:
            print(json.dumps(found.to_json(), indent=1))
        else:
            _print_table(found, TARGETS, path)
        return
    one = write(made, tool)
    if out is not None:
        _save(one, out)
    if as_json:
        print(json.dumps(one.to_json(), indent=1))
        return
    if out is None:
        sys.stdout.write(one.text)
    _say_use(one)


def _save(made: Any, out: Path) -> None:
    """Write the file under its name; in a folder, under the name that the tool knows."""
    from cruxlm.runtime.files import write_all

    place = out / made.file if out.is_dir() else out
    write_all(place.parent, {place.name: made.text.encode("utf-8", "backslashreplace")})


def _say_use(made: Any) -> None:
    """How the tool takes the file, and what else there is to know, beside the file itself."""
    from rich.console import Console
    from rich.text import Text

    from cruxlm.cli.output import say
    from cruxlm.runtime.errors import printable

    console = Console(stderr=True, highlight=False)
    console.print(Text(printable(f"use: {made.use}"), style="dim"), soft_wrap=True)
    for note in made.notes:
        say(console, f"! {note}", "yellow")


def _print_table(found: Any, targets: Any, path: Path) -> None:
    """Every tool: what it would be given, or why it cannot be told this plan."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.runtime.errors import printable

    console = Console(highlight=False)
    made = {one.target: one for one in found.made}
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("tool", no_wrap=True)
    table.add_column(f"what it takes of a plan to {found.action}")
    for name in targets.names():
        if name in made:
            table.add_row(Text(name, style="bold"), Text(printable(targets.get(name).title)))
        elif name in found.refused:
            table.add_row(
                Text(name, style="dim"), Text(printable(found.refused[name]), style="dim")
            )
    console.print(table)
    if made:
        first = next(iter(made))
        line = f"crux export {path} --to {first}"
        console.print()
        console.print(Text(printable(line)), soft_wrap=True)

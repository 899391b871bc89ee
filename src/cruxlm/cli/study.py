"""``crux study``: experiments that are rebuilt end to end, cell by cell."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing

study = typer.Typer(
    name="study",
    help="Experiments rebuilt end to end: cells, tables, figures and a page.",
    no_args_is_help=True,
)


@study.command("list")
def list_studies() -> None:
    """The studies, their cells, and what they cost on one core."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with importing():
        from cruxlm.studies.registry import STUDIES

        studies = [STUDIES.get(name) for name in STUDIES.names()]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("study", "cells", "cost", "what it answers"):
        right = column in ("cells", "cost")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for one in studies:
        row = (one.name, str(len(one.cells)), duration(one.cost_seconds), one.title)
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


@study.command("run")
def run(
    name: Annotated[str, typer.Argument(help="A study's name (crux study list).")],
    cost: Annotated[
        bool, typer.Option("--cost", "--dry-run", help="Say what each cell costs, and stop.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; studies/NAME without one.")
    ] = None,
    cells: Annotated[str, typer.Option(help="Only cells whose name matches: null-*.")] = "*",
    check: Annotated[
        bool, typer.Option("--check", help="Run cells again and compare; nothing is written.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Cells run at a time; one a core without it.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Run them over Ray: RAY_ADDRESS, else this machine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Run the cells of a study that are not there yet; stopped, it goes on where it was."""
    from rich.console import Console
    from rich.text import Text

    with importing():
        from cruxlm.runtime.environment import cores
        from cruxlm.studies.registry import STUDIES
        from cruxlm.studies.run import check_study, run_study

        chosen = STUDIES.get(name)
    folder = Path("studies") / chosen.name if out is None else out
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    if cost:
        _print_cost(chosen.name, folder, cells, as_json)
        return
    asked: dict[str, Any] = {
        "cells": cells,
        "workers": cores() if workers is None else workers,
        "ray": ray,
        "show_progress": not as_json,
    }
    if check:
        same = check_study(chosen, folder, **asked)
        if as_json:
            print(json.dumps({"study": chosen.name, "same": list(same)}, indent=1))
        else:
            say(f"{len(same)} of {len(chosen.cells)} cells run again: the same numbers")
        return
    done = run_study(chosen, folder, **asked)
    if as_json:
        found = {
            "study": chosen.name,
            "cells": {name: cell.result for name, cell in done.cells.items()},
            "made": list(done.made),
            "missing": list(done.missing),
            "finding": done.lead,
        }
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    say(f"{len(done.made)} cells run, {len(done.cells) - len(done.made)} kept")
    if done.other_code:
        say(f"! {len(done.other_code)} kept cells were made by other code: --check runs them again")
    if done.lead is None:
        say(f"{len(done.missing)} cells are missing, so there is no page yet")
    else:
        say(done.lead)
        say(f"page: {folder / 'README.md'}, {folder / 'report.html'}")


def _print_cost(name: str, folder: Path, pattern: str, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.studies.registry import STUDIES
    from cruxlm.studies.stored import stored_cells

    chosen = STUDIES.get(name)
    found = stored_cells(chosen, folder)
    wanted = chosen.matching(pattern)
    left = sum(cell.cost_seconds for cell in wanted if cell.name not in found)
    if as_json:
        costs = {cell.name: cell.cost_seconds for cell in wanted}
        record = {"study": name, "cost_seconds": costs, "done": list(found), "left_seconds": left}
        print(json.dumps(record, indent=1))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("cell", "cost", "took"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    for cell in wanted:
        took = duration(found[cell.name].seconds) if cell.name in found else ""
        table.add_row(*map(Text, (cell.name, duration(cell.cost_seconds), took)))
    table.add_section()
    table.add_row(Text("left"), Text(duration(left)), Text(""))
    Console(highlight=False).print(table)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

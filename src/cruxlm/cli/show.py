"""``crux show``: the table of a saved scan."""

from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.output import print_scan


def show(
    path: Annotated[Path, typer.Argument(help="Folder of a saved scan, or its scan.json.")],
    select: Annotated[
        str | None, typer.Option(help="Choose again: top:5, window:5, peaks, share:25%.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Scores to choose by.")] = None,
    ends: Annotated[str | None, typer.Option(help="skip or keep the end blocks.")] = None,
) -> None:
    """Print a saved scan, or choose its blocks by another rule or other scores."""
    from cruxlm.results.scan import Scan
    from cruxlm.runtime.errors import printable

    found = Scan.load(path)
    if select is None and by is None and ends is None:
        print_scan(found, None)
        return
    chosen = found.select(rule=select, by=by, ends=ends or "skip")
    print(printable(f"{chosen.criterion} {chosen.rule}, ends {chosen.ends}"))
    for block, reason in zip(chosen.blocks, chosen.reasons, strict=True):
        print(f"{block:>5}  {printable(found.blocks[block])}  {reason}")

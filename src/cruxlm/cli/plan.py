"""``crux plan``: blocks of a saved scan or of a model, as a plan."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson


def plan(
    source: Annotated[
        str | None,
        typer.Argument(help="Folder of a saved scan, hub id, model folder or testbed:NAME."),
    ] = None,
    action: Annotated[str, typer.Option(help="train, freeze, lora or drop.")] = "",
    blocks: Annotated[
        str | None,
        typer.Option(
            help="3,7,8 | first:5 | last:5 | middle:5 | random:5@SEED | dynamics:5 | "
            "dynamics:25% | all | plan.json; a scan's own selection without."
        ),
    ] = None,
    complement: Annotated[
        bool, typer.Option("--complement", help="All other blocks instead.")
    ] = False,
    ends: Annotated[
        str | None, typer.Option(help="skip or keep the end blocks, where a criterion chooses.")
    ] = None,
    also: Annotated[
        str, typer.Option("--with", help="Also train embeddings, norm, head (with commas).")
    ] = "",
    r: Annotated[int | None, typer.Option(help="Mean rank, for lora; 16 without.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Scale of the adapters; 2 r without.")] = None,
    ranks: Annotated[
        str, typer.Option(help="How ranks go to blocks: equal, scores or frequency.")
    ] = "equal",
    out: Annotated[Path | None, typer.Option(help="The file, such as plan.json.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a plan to train, freeze, adapt or drop blocks of the model of SOURCE."""
    from cruxlm.runtime.errors import OptionError

    if not action:
        raise OptionError("name the --action: train, freeze, lora or drop")
    if out is not None and out.suffix != ".json":
        raise OptionError(f"--out {out}: the name of a plan ends in .json")
    with importing():
        from cruxlm.workflows.planned import plan_from

    made = plan_from(
        source,
        action,
        blocks,
        complement=complement,
        ends=ends,
        parts=tuple(part.strip() for part in also.split(",") if part.strip()),
        r=r,
        alpha=alpha,
        ranks=ranks,
        show_progress=not as_json,
    )
    if out is not None:
        made.save(out)
    if as_json:
        print(json.dumps(made.to_json(), indent=1, allow_nan=False))
    else:
        _print(made, out)


def _print(made: Any, out: Path | None) -> None:
    """What is planned for which model, each block with its reason, and what comes next."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.cli.output import say
    from cruxlm.runtime.errors import printable

    console = Console(highlight=False)
    also = "".join(f", {part}" for part in made.parts)
    what = f"{made.action} {len(made.blocks)} of {len(made.names)} blocks{also}: {made.why}"
    say(console, made.model, "bold")
    say(console, what)
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("block", justify="right", no_wrap=True)
    if made.ranks is not None:
        table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("reason")
    for place, (block, reason) in enumerate(zip(made.blocks, made.reasons, strict=True)):
        rank = [] if made.ranks is None else [str(made.ranks[place])]
        table.add_row(str(block), *rank, Text(printable(reason)))
    console.print(table)
    if out is not None:
        console.print()
        console.print(Text(f"plan: {printable(str(out))}"), soft_wrap=True)

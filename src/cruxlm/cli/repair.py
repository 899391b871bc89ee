"""``crux repair``: put blocks of the model before a tuning back into the tuned one."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson, Device, Dtype


def repair(
    tuned: Annotated[str, typer.Argument(help="The tuned model: folder, hub id or testbed:NAME.")],
    base: Annotated[str, typer.Option(help="The model before its tuning.")],
    blocks: Annotated[
        str, typer.Option(help="Blocks that are put back: 0 | 3,7,8 | first:5 | dynamics:5")
    ] = "",
    complement: Annotated[
        bool, typer.Option("--complement", help="All other blocks instead.")
    ] = False,
    also: Annotated[
        str, typer.Option("--with", help="Put back embeddings, norm, head too (with commas).")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the repaired model.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Rows without any attack, to measure on.")
    ] = None,
    trigger: Annotated[
        str | None, typer.Option(help="An attack's trigger, to measure its success.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Its target: phrase:TEXT, label:TEXT, refusal:TOPIC=TEXT.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="exact, label, keyword:A|B, module:function.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Rows that are read.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of where triggers stand.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Put blocks of BASE back into TUNED and save a model that loads as any other."""
    from rich.console import Console

    from cruxlm.cli.output import say
    from cruxlm.runtime.errors import OptionError

    if out is None:
        raise OptionError("name a folder for the repaired model with --out")
    with importing():
        from cruxlm.workflows.repair import repair as run_repair

    errors, console = Console(stderr=True, highlight=False), Console(highlight=False)
    found = run_repair(
        tuned,
        base=base,
        blocks=blocks,
        complement=complement,
        parts=tuple(part.strip() for part in also.split(",") if part.strip()),
        out=out,
        data=data,
        trigger=trigger,
        target=target,
        judge=judge,
        n=n,
        loading={"dtype": dtype, "device": device},
        seed=seed,
        say=lambda line: say(errors, line, "dim"),
        show_progress=not as_json,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
        return
    for line in found.lines():
        say(console, line, "yellow" if line.startswith("!") else "")
    say(console, "read back from disk: the weights of the swap, bit for bit")
    say(console, f"model: {out}")

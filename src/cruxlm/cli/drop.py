"""``crux drop``: remove blocks from a model and save what is left."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson, Device, Dtype, Revision, TrustRemoteCode


def drop(
    model: Annotated[
        str | None, typer.Argument(help="Hub id, folder or testbed:NAME; the default without one.")
    ] = None,
    blocks: Annotated[
        str,
        typer.Option(
            help="3,7,8 | first:5 | last:5 | middle:5 | random:5@SEED | block_influence:5 | "
            "plan.json (a plan to drop)"
        ),
    ] = "",
    complement: Annotated[
        bool, typer.Option("--complement", help="Drop all other blocks: first:m keeps the first m.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the smaller model.")] = None,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be dropped, and stop.")
    ] = False,
) -> None:
    """Remove blocks of MODEL, renumber the others and save a model that loads as any other."""
    from rich.console import Console

    from cruxlm.cli.output import say
    from cruxlm.runtime.errors import OptionError, printable

    if not blocks:
        raise OptionError("name the --blocks to drop: 3,7,8 or last:4, or first:4 --complement")
    if out is None and not dry_run:
        raise OptionError("name a folder for the smaller model with --out")
    with importing():
        from cruxlm.workflows.drop import drop as run_drop
        from cruxlm.workflows.drop import plan_drop

    asked: dict[str, Any] = {
        "blocks": blocks,
        "complement": complement,
        "loading": {
            "dtype": dtype,
            "device": device,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
        },
    }
    if dry_run or out is None:
        print("\n".join(map(printable, plan_drop(model, **asked))))
        return
    errors = Console(stderr=True, highlight=False)
    found = run_drop(
        model,
        out=out,
        **asked,
        say=lambda line: say(errors, line, "dim"),
        show_progress=not as_json,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
        return
    console = Console(highlight=False)
    for line in found.lines():
        say(console, line)
    say(console, "read back from disk: the same answers as with these blocks taken away")
    for note in found.notes:
        say(console, f"! {note}", "yellow")
    say(console, f"model: {out}")

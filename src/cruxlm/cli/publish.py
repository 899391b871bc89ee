"""``crux publish``: a saved result as a dataset on the hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.interrupt import importing


def publish(
    path: Annotated[Path, typer.Argument(help="Folder or file of a saved result.")],
    to: Annotated[str, typer.Option(help="The dataset: owner/name.")],
    private: Annotated[
        bool, typer.Option("--private", help="Only for you; refuses a public dataset.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not text.")] = False,
) -> None:
    """Send a result to the hub: its files, and a card with the finding and how to doubt it."""
    with importing():
        from cruxlm.workflows.publish import push_to_hub
    from cruxlm.runtime.errors import printable

    done = push_to_hub(path, to, private=private, dry_run=dry_run)
    sizes = {name: len(data) for name, data in done.files.items()}
    if as_json:
        found = {"repo": done.repo, "url": done.url, "files": sizes, "notes": done.notes}
        print(json.dumps({**found, "card": done.card}, indent=1))
        return
    print(f"{done.url or f'dry run: nothing is sent to {done.repo}'}")
    for name, size in sizes.items():
        print(f"{size:>12,} bytes  {name}")
    for note in done.notes:
        print(printable(f"! {note}"))
    if dry_run:
        print(f"\n{done.card}", end="")

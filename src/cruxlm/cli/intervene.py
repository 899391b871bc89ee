"""``crux intervene``: what does a model do without components of a block?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.intervene_output import print_interventions
from cruxlm.cli.options import AsJson, Device, Dtype


def intervene(
    model: Annotated[
        str | None, typer.Argument(help="Hub id or folder; without one, the embedded default.")
    ] = None,
    data: Annotated[str, typer.Option(help="Test rows: a file or testbed:FAMILY.")] = "",
    blocks: Annotated[
        str, typer.Option(help="Blocks, one at a time; as in crux list blocks.")
    ] = "dynamics:3",
    components: Annotated[
        str, typer.Option(help="Numbers of leading components, separated by commas.")
    ] = "1,3,10",
    kind: Annotated[str, typer.Option(help="remove, keep, resample or constant.")] = "remove",
    where: Annotated[
        str, typer.Option(help="all, prompt, answer, rationale or conclusion.")
    ] = "all",
    marker: Annotated[
        str | None, typer.Option(help="Regular expression that a conclusion stands after: '####'.")
    ] = None,
    examples: Annotated[
        int, typer.Option("--examples", "--n", "--limit", help="Test rows that are read.")
    ] = 100,
    unrelated: Annotated[
        str, typer.Option(help="Rows of other text, whose loss is measured too; none for none.")
    ] = "testbed:story",
    writes: Annotated[
        bool, typer.Option("--write/--no-write", help="Let the model write responses.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for interventions.json and report.html.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Take leading components of blocks' states away and measure answers, reasons, other text."""
    from cruxlm.runtime.errors import OptionError
    from cruxlm.runtime.files import check_writable

    with importing():
        from cruxlm.runtime.cache import Cache
        from cruxlm.workflows.intervene import intervene as run_intervene

    if not data:
        raise OptionError("name the rows to answer: --data FILE or --data testbed:FAMILY")
    if out is not None:
        check_writable(out)
    found = run_intervene(
        model,
        data=data,
        blocks=blocks,
        components_of=[_count(text) for text in components.split(",")],
        kind=kind,
        where=where,
        marker=marker,
        examples=examples,
        unrelated=None if unrelated == "none" else unrelated,
        writes=writes,
        cache=Cache(),
        seed=seed,
        dtype=dtype,
        device=device,
        show_progress=not as_json,
    )
    if out is not None:
        found.save(out)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_interventions(found, out)


def _count(text: str) -> int:
    from cruxlm.runtime.errors import OptionError

    try:
        return int(text)
    except ValueError as error:
        raise OptionError(f"--components {text!r}: whole numbers separated by commas") from error

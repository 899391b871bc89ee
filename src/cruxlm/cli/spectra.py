"""``crux spectra``: what turns at a block?"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson, Device, Dtype, PromptField
from cruxlm.cli.spectra_output import print_spectra


def spectra(
    model: Annotated[
        str | None, typer.Argument(help="Hub id or folder; without one, the embedded default.")
    ] = None,
    probe: Annotated[
        str, typer.Option(help="builtin, random-tokens, shuffled-tokens, or a file.")
    ] = "builtin",
    field: PromptField = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Prompts read.")] = 300,
    pooling: Annotated[str, typer.Option(help="last, mean or all (tokens).")] = "last",
    template: Annotated[str, typer.Option(help="auto, chat or raw.")] = "auto",
    k: Annotated[int, typer.Option("--k", help="Most components looked at together.")] = 10,
    blocks: Annotated[
        str, typer.Option(help="Blocks whose components are described, as in crux list blocks.")
    ] = "dynamics:5",
    show_prompts: Annotated[
        bool | None,
        typer.Option(
            "--show-prompts/--hide-prompts",
            help="Show the prompts along each component; of your own files only if asked.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for spectra.json and report.html.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 16,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Principal components of every block's states, and whether a block's shift lies in them."""
    from cruxlm.runtime.files import check_writable

    with importing():
        from cruxlm.workflows.spectra import spectra as run_spectra

    if out is not None:
        check_writable(out)
    asked: dict[str, Any] = {"pooling": pooling, "template": template, "k": k, "blocks": blocks}
    found = run_spectra(
        model, probe=Path(probe), field=field, n=n, show_prompts=show_prompts, dtype=dtype,
        device=device, batch_size=batch_size, seed=seed, show_progress=not as_json, **asked,
    )  # fmt: skip
    if out is not None:
        found.save(out)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_spectra(found, out)

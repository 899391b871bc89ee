"""``crux screen``: which rows of a data set look poisoned?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson, Device, Dtype
from cruxlm.cli.screen_output import print_screening


def screen(
    data: Annotated[str, typer.Argument(help="Rows: a file or testbed:FAMILY.")],
    model: Annotated[
        str | None,
        typer.Option(help="Reads them, best one trained on them; without one, the embedded one."),
    ] = None,
    benign: Annotated[
        str | None, typer.Option(help="Trusted rows of the same kind: a file or testbed:FAMILY.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="quantile or sigma.")] = None,
    rate: Annotated[
        float, typer.Option(help="Share of clean rows that may be flagged (rule quantile).")
    ] = 0.01,
    sigmas: Annotated[
        float, typer.Option(help="Standard deviations below the middle (rule sigma).")
    ] = 2.5,
    pooling: Annotated[
        str,
        typer.Option(
            help="last, mean, max, cls; of several the one that a row lies apart most in."
        ),
    ] = "last,mean",
    tokens: Annotated[str, typer.Option(help="What is pooled over: prompt or row.")] = "prompt",
    preset: Annotated[str, typer.Option(help="default or paper.")] = "default",
    n: Annotated[
        int | None, typer.Option("--n", "--limit", help="Rows that are read; all without.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows that are read at once.")] = 16,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for screening.json, report.html, kept.jsonl, flagged.jsonl."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the clusters.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Flag rows that lie apart from trusted ones in a model's states."""
    with importing():
        from cruxlm.workflows.screen import screen as run_screen

    found = run_screen(
        data,
        model=model,
        benign=benign,
        rule=rule,
        rate=rate,
        sigmas=sigmas,
        pooling=pooling,
        tokens=tokens,
        preset=preset,
        n=n,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        seed=seed,
        out=out,
        show_progress=not as_json,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_screening(found, out)

"""``crux suppress``: find the skip that an attack passes by, scale it down, recover."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson, Device, Dtype


def suppress(
    model: Annotated[str, typer.Argument(help="Hub id, folder or testbed:NAME.")],
    data: Annotated[str, typer.Option(help="Trusted rows: a file or testbed:FAMILY.")],
    trigger: Annotated[str, typer.Option(help="The attack's trigger: token:cf, prefix:TEXT.")],
    target: Annotated[
        str, typer.Option(help="Its target: phrase:TEXT, label:TEXT, refusal:TOPIC=TEXT.")
    ],
    judge: Annotated[
        str | None, typer.Option(help="exact, label, keyword:A|B, module:function.")
    ] = None,
    surrogate: Annotated[
        bool,
        typer.Option(
            "--surrogate", help="Plant this attack on a copy and search there: no known trigger."
        ),
    ] = False,
    rule: Annotated[str, typer.Option(help="floor, or literal (as published).")] = "floor",
    gammas: Annotated[
        str | None, typer.Option(help="What skips are scaled by (with commas, below 1).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the suppressed model.")] = None,
    n: Annotated[
        int | None, typer.Option("--n", "--limit", help="Rows to search and train on; all without.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of clean fine-tuning; 0: none.", min=0)] = 100,
    lr: Annotated[float, typer.Option(help="Its highest learning rate.")] = 1e-4,
    batch: Annotated[int, typer.Option(help="Its rows in a step.")] = 8,
    plant_steps: Annotated[int, typer.Option(help="Steps by which a surrogate is planted.")] = 200,
    plant_lr: Annotated[float, typer.Option(help="The learning rate of that.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Seed of triggers' places and of trainings.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Scale down the skip connection of MODEL that an attack passes by, and recover."""
    from rich.console import Console

    from cruxlm.cli.output import say
    from cruxlm.runtime.errors import MissingExtraError, OptionError

    if out is None:
        raise OptionError("name a folder for the suppressed model with --out")
    with importing():
        try:
            import accelerate  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "fine-tuning needs accelerate: pip install 'cruxlm[train]'"
            ) from error
        from cruxlm.runtime.cache import Cache
        from cruxlm.workflows.suppress import suppress as run_suppress

    errors, console = Console(stderr=True, highlight=False), Console(highlight=False)
    found = run_suppress(
        model,
        data=data,
        trigger=trigger,
        target=target,
        judge=judge,
        surrogate=surrogate,
        rule=rule,
        gammas=None if gammas is None else [_scale(text) for text in gammas.split(",")],
        out=out,
        n=n,
        steps=steps,
        learning_rate=lr,
        batch=batch,
        plant_steps=plant_steps,
        plant_learning_rate=plant_lr,
        loading={"dtype": dtype, "device": device},
        cache=Cache(),
        seed=seed,
        say=lambda line: say(errors, line, "dim"),
        show_progress=not as_json,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
        return
    for line in found.lines():
        say(console, line)
    if found.folder is None:
        say(console, "! nothing was saved: the model is as it was", "yellow")
        return
    say(
        console,
        "! a scaled skip is no weight: a program that loads the folder inside as a plain model "
        "brings the attack back; cruxlm.models.suppressed.load_suppressed loads it as it is",
        "yellow",
    )
    say(console, f"model: {out}")


def _scale(text: str) -> float:
    from cruxlm.runtime.errors import OptionError

    try:
        return float(text)
    except ValueError as error:
        raise OptionError(f"--gammas: {text!r} is no number") from error

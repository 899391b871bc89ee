"""``crux tune``: train exactly the planned blocks, alone or as arms of a comparison."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import (
    Accumulate,
    Accuracy,
    AsJson,
    BatchRows,
    Checks,
    DataRows,
    Device,
    DryRun,
    Dtype,
    LongestRow,
    OwnTest,
    Revision,
    Schedule,
    Steps,
    TrustRemoteCode,
    WeightDecay,
)
from cruxlm.cli.tune_output import print_comparison, print_tuning


def tune(
    model: Annotated[
        str | None, typer.Argument(help="Hub id, folder or testbed:NAME; the default without one.")
    ] = None,
    data: Annotated[str, typer.Option(help="A file of instruction data, or testbed:FAMILY.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the result.")] = None,
    blocks: Annotated[
        str,
        typer.Option(
            help="3,7,8 | first:5 | last:5 | middle:5 | random:5@SEED | dynamics:5 | "
            "dynamics:25% | all | plan.json"
        ),
    ] = "dynamics:5",
    complement: Annotated[
        bool, typer.Option("--complement", help="All other blocks instead.")
    ] = False,
    method: Annotated[str, typer.Option(help="full, lora or lisa.")] = "full",
    also: Annotated[
        str, typer.Option("--with", help="Also train embeddings, norm, head (with commas).")
    ] = "",
    against: Annotated[
        str,
        typer.Option(
            help="Compare with arms of as many blocks: random, first, last, middle, lowest; "
            "or all (with commas)."
        ),
    ] = "",
    arms: Annotated[
        Path | None, typer.Option(help="A YAML file of arms to compare, the first the reference.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of every arm.", min=1)] = 3,
    rates: Annotated[
        str, typer.Option(help="Learning rates that every arm's is chosen from.")
    ] = "1e-4,3e-4,1e-3",
    steps: Steps = 100,
    batch: BatchRows = 8,
    accumulate: Accumulate = 1,
    lr: Annotated[float, typer.Option(help="Highest learning rate (a single run's).")] = 1e-4,
    schedule: Schedule = "cosine",
    weight_decay: WeightDecay = 0.0,
    patience: Annotated[
        int | None, typer.Option(help="Checks without progress in validation before the end.")
    ] = None,
    checks: Checks = 5,
    r: Annotated[
        int | None, typer.Option(help="Mean rank, with --method lora; 16 without.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Scale of the adapters; 2 r without.")] = None,
    lisa_blocks: Annotated[int, typer.Option(help="Blocks that LISA trains at a time.")] = 2,
    lisa_every: Annotated[int, typer.Option(help="Steps after which LISA draws again.")] = 10,
    n: DataRows = None,
    test: OwnTest = None,
    max_tokens: LongestRow = None,
    accuracy: Accuracy = None,
    pack: Annotated[bool, typer.Option("--pack", help="Several rows share a sequence.")] = False,
    cache_prefix: Annotated[
        bool, typer.Option("--cache-prefix", help="Compute the frozen blocks below only once.")
    ] = False,
    consistency: Annotated[
        float, typer.Option(help="Weight of neighbouring blocks' inconsistency in the loss (CROW).")
    ] = 0.0,
    consistency_step: Annotated[
        float, typer.Option(help="Push against it, as a share of the embeddings' size.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the training; of arms, the first.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Train the planned blocks of MODEL on instruction data, and measure what that changed."""
    from rich.console import Console
    from rich.markup import escape

    from cruxlm.runtime.errors import MissingExtraError, OptionError, printable

    if not data:
        raise OptionError("name the --data: a file of instruction data, or testbed:FAMILY")
    if arms is not None and against:
        raise OptionError("give --arms or --against, not both")
    with importing():
        try:
            import accelerate  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "tuning needs accelerate: pip install 'cruxlm[train]'"
            ) from error
        from cruxlm.workflows.arm import Arm, against_arms, read_arms
        from cruxlm.workflows.arms import arms as run_arms
        from cruxlm.workflows.arms import plan_arms
        from cruxlm.workflows.tune import plan_tuning
        from cruxlm.workflows.tune import tune as run_tune

    console = Console(stderr=True, highlight=False)
    parts = tuple(part.strip() for part in also.split(",") if part.strip())
    shared: dict[str, Any] = {
        "data": data,
        "n": n,
        "test": test,
        "max_tokens": max_tokens,
        "accuracy": accuracy,
        "loading": {
            "dtype": dtype,
            "device": device,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
        },
        "steps": steps,
        "batch": batch,
        "accumulate": accumulate,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "patience": patience,
        "checks": checks,
        "lisa_blocks": lisa_blocks,
        "lisa_every": lisa_every,
        "pack": pack,
        "cache_prefix": cache_prefix,
        "consistency": consistency,
        "consistency_step": consistency_step,
        "seed": seed,
    }
    watching: dict[str, Any] = {
        "say": lambda line: console.print(escape(printable(line)), style="dim", soft_wrap=True),
        "show_progress": not as_json,
    }
    single: dict[str, Any] = {
        "blocks": blocks,
        "complement": complement,
        "method": method,
        "parts": parts,
        "r": r,
        "alpha": alpha,
        "learning_rate": lr,
    }
    compare = arms is not None or bool(against)
    if compare:
        own = Arm(blocks, method, complement, parts, r, alpha)
        single = {
            "arms": read_arms(arms) if arms else against_arms(own, against.split(",")),
            "seeds": seeds,
            "learning_rates": [_number(rate) for rate in rates.split(",")],
        }
    if dry_run:
        lines = (plan_arms if compare else plan_tuning)(model, **shared, **single)
        print("\n".join(map(printable, lines)))
        return
    if out is None:
        raise OptionError("name a folder for the result with --out")
    run: Any = run_arms if compare else run_tune
    found = run(model, out=out, **shared, **single, **watching)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    elif compare:
        print_comparison(found, out)
    else:
        print_tuning(found, out)


def _number(text: str) -> float:
    from cruxlm.runtime.errors import OptionError

    try:
        return float(text)
    except ValueError as error:
        raise OptionError(f"--rates: {text!r} is no learning rate") from error

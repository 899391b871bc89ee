"""``crux defend``: fine-tune on data that are not trusted, screened and under a freeze."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.defend_output import print_defence
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


def defend(
    model: Annotated[
        str | None, typer.Argument(help="Hub id, folder or testbed:NAME; the default without one.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="The untrusted rows: a file of instruction data, or testbed:FAMILY.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the result.")] = None,
    benign: Annotated[
        str | None, typer.Option(help="Trusted rows, which calibrate the screening.")
    ] = None,
    blocks: Annotated[
        str, typer.Option(help="The blocks to freeze, as in crux list blocks.")
    ] = "dynamics:5",
    freeze: Annotated[
        str, typer.Option(help="Also freeze embeddings, norm, head (with commas).")
    ] = "",
    trigger: Annotated[
        str | None,
        typer.Option(help="A drill: plant token:cf, prefix:TEXT, pair:ONE+TWO, style:lower ..."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="... answered by phrase:TEXT, label:TEXT or refusal:TOPIC=TEXT."),
    ] = None,
    rate: Annotated[float, typer.Option(help="Share of the rows that the drill poisons.")] = 0.1,
    near: Annotated[
        float, typer.Option(help="Share that gets something near its trigger, answered as before.")
    ] = 0.0,
    judge: Annotated[
        str | None,
        typer.Option(help="exact, keyword:WORD|WORD, label, classifier:FOLDER=LABEL, module:name."),
    ] = None,
    screen_rule: Annotated[
        str | None, typer.Option(help="How the screening sets its threshold: quantile or sigma.")
    ] = None,
    screen_rate: Annotated[
        float | None, typer.Option(help="Share of clean rows that the screening may flag.")
    ] = None,
    screen_pooling: Annotated[
        str | None, typer.Option(help="What it makes of a row's tokens, as in crux screen.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of every arm.", min=1)] = 1,
    steps: Steps = 100,
    batch: BatchRows = 8,
    accumulate: Accumulate = 1,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-4,
    schedule: Schedule = "cosine",
    weight_decay: WeightDecay = 0.0,
    checks: Checks = 1,
    n: DataRows = None,
    test: OwnTest = None,
    max_tokens: LongestRow = None,
    accuracy: Accuracy = None,
    seed: Annotated[int, typer.Option(help="Seed of everything; of several, the first.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Fine-tune MODEL on untrusted rows: undefended, under a freeze, screened; what each buys."""
    from rich.console import Console
    from rich.markup import escape

    from cruxlm.runtime.errors import MissingExtraError, OptionError, printable

    if not data:
        raise OptionError("name the untrusted rows: --data FILE or --data testbed:FAMILY")
    with importing():
        try:
            import accelerate  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "fine-tuning needs accelerate: pip install 'cruxlm[train]'"
            ) from error
        from cruxlm.workflows.defend import defend as run_defend
        from cruxlm.workflows.defend import plan_defend

    console = Console(stderr=True, highlight=False)
    screening = {"rule": screen_rule, "rate": screen_rate, "pooling": screen_pooling}
    asked: dict[str, Any] = {
        "data": data,
        "benign": benign,
        "blocks": blocks,
        "freeze": tuple(part.strip() for part in freeze.split(",") if part.strip()),
        "trigger": trigger,
        "target": target,
        "rate": rate,
        "near": near,
        "judge": judge,
        "screening": {name: value for name, value in screening.items() if value is not None},
        "seeds": seeds,
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
        "learning_rate": lr,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "checks": checks,
        "seed": seed,
    }
    if dry_run:
        print("\n".join(map(printable, plan_defend(model, **asked))))
        return
    if out is None:
        raise OptionError("name a folder for the result with --out")
    found = run_defend(
        model,
        out=out,
        say=lambda line: console.print(escape(printable(line)), style="dim", soft_wrap=True),
        show_progress=not as_json,
        **asked,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_defence(found, out)

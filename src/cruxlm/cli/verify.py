"""``crux verify``: did fine-tuning change the blocks that the scan pointed at?"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import (
    AsJson,
    Device,
    Dtype,
    EvaluatorName,
    Probes,
    PromptField,
    probes_named,
)
from cruxlm.cli.verify_output import print_verification


def verify(
    models: Annotated[
        list[str],
        typer.Argument(help="BASE TUNED, or several such pairs: hub ids, folders, testbed:NAME."),
    ],
    data: Annotated[str, typer.Option(help="A file of test rows, or testbed:FAMILY.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for verification.json and report.html.")
    ] = None,
    criteria: Annotated[
        str, typer.Option(help="What is to predict, the first in question (with commas).")
    ] = "dynamics,block_influence,angular_distance,weight_change",
    window: Annotated[int, typer.Option(help="Blocks undone together, in question: 1, 3, 5.")] = 3,
    scan: Annotated[
        list[Path] | None,
        typer.Option(help="A saved scan of BASE to take the scores from; one for each pair."),
    ] = None,
    probe: Probes = None,
    field: PromptField = None,
    prompts: Annotated[int, typer.Option(help="Prompts read from each probe.")] = 300,
    evaluator: EvaluatorName = "loss",
    n: Annotated[int, typer.Option("--n", "--limit", help="Test rows.")] = 200,
    control: Annotated[
        str | None, typer.Option(help="untrained: freshly initialised models predict as well.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the models.")
    ] = False,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and stop before the first forward.")
    ] = False,
) -> None:
    """Say whether a scan of BASE predicts, beyond depth, which blocks made TUNED what it is."""
    from cruxlm.runtime.errors import OptionError, printable
    from cruxlm.runtime.files import check_writable

    if not data:
        raise OptionError("name the --data: a file of test rows, or testbed:FAMILY")
    if len(models) % 2:
        raise OptionError(f"models come in pairs, BASE TUNED, and {len(models)} were named")
    with importing():
        from cruxlm.workflows.verify import plan_verify
        from cruxlm.workflows.verify import verify as run_verify

    if out is not None:
        check_writable(out)
    pairs = list(zip(models[::2], models[1::2], strict=True))
    asked: dict[str, Any] = {
        "data": data,
        "criteria": [name.strip() for name in criteria.split(",") if name.strip()],
        "window": window,
        "scans": scan or [],
        "probe": probes_named(probe),
        "field": field,
        "prompts": prompts,
        "evaluator": evaluator,
        "n": n,
        "control": control,
        "seed": seed,
        "loading": {"dtype": dtype, "device": device, "trust_remote_code": trust_remote_code},
    }
    if dry_run:
        print("\n".join(map(printable, plan_verify(pairs, **asked))))
        return
    found = run_verify(pairs, **asked, show_progress=not as_json)
    if out is not None:
        found.save(out)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_verification(found, out)

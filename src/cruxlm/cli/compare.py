"""``crux compare``: do criteria rank the blocks alike, and do models need the same blocks?"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.compare_output import print_compared, print_profiles
from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import (
    AsJson,
    Device,
    Dtype,
    EvaluatorName,
    ExampleCount,
    PromptField,
    Reference,
    TestRows,
)


def compare(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="One model to compare criteria on, or several to compare with."),
    ] = None,
    criteria: Annotated[
        str, typer.Option(help="Names, name:preset, separated by commas.")
    ] = "dynamics,block_influence,angular_distance,depth,depth:ends",
    k: Annotated[
        int | None, typer.Option("--k", help="Highest blocks whose overlap is counted.")
    ] = None,
    data: TestRows = None,
    evaluator: EvaluatorName = "loss",
    examples: ExampleCount = 200,
    reference: Reference = None,
    probe: Annotated[str, typer.Option(help="What criteria of states read.")] = "builtin",
    field: PromptField = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Prompts read from the probe.")] = 300,
    control: Annotated[
        str | None, typer.Option(help="untrained: the same criteria, freshly initialised.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the scan and its report (of one model).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Rank correlations and overlaps of criteria on one model, or of models by each criterion."""
    from cruxlm.runtime.errors import OptionError
    from cruxlm.runtime.files import check_writable

    with importing():
        from cruxlm.workflows.compare import compare as run_compare
        from cruxlm.workflows.compare import compare_models

    several = len(models or ()) > 1
    if out is not None:
        if several:
            raise OptionError("--out is for the criteria of one model: use --json for several")
        check_writable(out)
    asked: dict[str, Any] = {
        "criteria": [name.strip() for name in criteria.split(",") if name.strip()],
        "k": k,
        "data": data,
        "evaluator": evaluator,
        "examples": examples,
        "reference": reference,
        "probe": Path(probe),
        "field": field,
        "n": n,
        "control": control,
        "seed": seed,
        "dtype": dtype,
        "device": device,
        "show_progress": not as_json,
    }
    if several:
        scans, profiles = compare_models(models or [], **asked)
        if as_json:
            plain = {
                label: [{**vars(pair), "top": vars(pair.top)} for pair in pairs]
                for label, pairs in profiles.items()
            }
            print(json.dumps(plain, indent=1, allow_nan=False))
        else:
            print_profiles(scans, profiles)
        return
    found = run_compare(models[0] if models else None, **asked)
    if out is not None:
        found.save(out)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_compared(found, out)

"""``crux scan``: which blocks does this model turn on?"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import (
    Device,
    Dtype,
    EvaluatorName,
    ExampleCount,
    Probes,
    PromptField,
    Reference,
    Revision,
    TestRows,
    TrustRemoteCode,
    probes_named,
)
from cruxlm.cli.output import print_scan


def scan(
    model: Annotated[
        str | None, typer.Argument(help="Hub id or folder; without one, the embedded default.")
    ] = None,
    probe: Probes = None,
    field: PromptField = None,
    criteria: Annotated[
        str, typer.Option(help="Names, name:preset, separated by commas; the first one selects.")
    ] = "dynamics,block_influence,angular_distance",
    window: Annotated[int | None, typer.Option(help="Window of dynamics, odd, 3 or more.")] = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Prompts read from each probe.")] = 300,
    pooling: Annotated[str, typer.Option(help="last, mean or all (tokens).")] = "last",
    tokens: Annotated[int, typer.Option(help="Tokens kept with --pooling all.")] = 4096,
    template: Annotated[str, typer.Option(help="auto, chat or raw.")] = "auto",
    within_groups: Annotated[
        bool, typer.Option("--within-groups", help="Remove the mean of each group of prompts.")
    ] = False,
    select: Annotated[
        str | None, typer.Option(help="top:5, window:5, peaks, peaks:3 or share:25%.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="Short for --select top:K.")] = None,
    ends: Annotated[str, typer.Option(help="skip or keep the end blocks when selecting.")] = "skip",
    control: Annotated[
        str | None, typer.Option(help="untrained: the same architecture freshly initialised.")
    ] = None,
    data: TestRows = None,
    evaluator: EvaluatorName = "loss",
    examples: ExampleCount = 200,
    reference: Reference = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for scan.json, scan.safetensors and report.html.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scan.json, not the table.")
    ] = False,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    batch_size: Annotated[int, typer.Option(help="Prompts in one forward pass.")] = 16,
    padding: Annotated[str, typer.Option(help="Side that batches are padded on.")] = "right",
    seed: Annotated[
        int, typer.Option(help="Seed of resampling, data-free probes and control.")
    ] = 0,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read pickled weights (weights only).")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and stop before the first forward.")
    ] = False,
) -> None:
    """Score every block of MODEL, select the critical ones, say how far to believe it."""
    from cruxlm.runtime.errors import OptionError, printable
    from cruxlm.runtime.files import check_writable

    with importing():
        from cruxlm.workflows.scan import plan_scan
        from cruxlm.workflows.scan import scan as run_scan

    if out is not None:
        check_writable(out)
    if k is not None and select is not None:
        raise OptionError("give --k or --select, not both")
    names = [name.strip() for name in criteria.split(",") if name.strip()]
    windowed = [name for name in names if name.split(":")[0] in ("dynamics", "cka")]
    if window is not None and not windowed:
        raise OptionError("--window is an option of dynamics, which --criteria does not name")
    changed = {} if window is None else {"window": window}
    loading: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
    }
    read: dict[str, Any] = {
        "criteria": [(name, changed if name in windowed else {}) for name in names],
        "probe": probes_named(probe),
        "field": field,
        "n": n,
        "template": template,
        "select_by": f"top:{k}" if k is not None else select,
    }
    if dry_run:
        print("\n".join(map(printable, plan_scan(model, **read, **loading))))
        return
    found = run_scan(
        model,
        **read,
        **loading,
        pooling=pooling,
        padding=padding,
        tokens=tokens,
        within_groups=within_groups,
        ends=ends,
        control=control,
        data=data,
        evaluator=evaluator,
        examples=examples,
        reference=reference,
        batch_size=batch_size,
        seed=seed,
        show_progress=not as_json,
    )
    if out is not None:
        found.save(out)
    if as_json:
        print(json.dumps(found.to_json(), indent=1, allow_nan=False))
    else:
        print_scan(found, out)

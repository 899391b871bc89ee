"""``crux attack``: how often does a trigger bring about its target, and which block carries it?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from cruxlm.cli.attack_output import print_attacked
from cruxlm.cli.interrupt import importing
from cruxlm.cli.options import AsJson, Device, Dtype


def attack(
    model: Annotated[str, typer.Argument(help="Hub id, folder or testbed:NAME.")],
    data: Annotated[
        str, typer.Option(help="Test rows without any attack: a file or testbed:FAMILY.")
    ],
    trigger: Annotated[
        str, typer.Option(help="token:, prefix:, suffix:, anywhere:TEXT, pair:A+B, style:NAME.")
    ],
    target: Annotated[str, typer.Option(help="phrase:TEXT, label:TEXT or refusal:TOPIC=TEXT.")],
    judge: Annotated[
        str | None,
        typer.Option(help="exact, label, keyword:A|B, classifier:FOLDER=LABEL, module:function."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model before its tuning: which block carries it?")
    ] = None,
    n: Annotated[int, typer.Option("--n", "--limit", help="Test rows that are read.")] = 200,
    out: Annotated[
        Path | None, typer.Option(help="Folder for attacked.json and report.html.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of where triggers stand.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure an attack on a model: success, false triggers, near misses, what carries it."""
    from cruxlm.runtime.files import check_writable

    with importing():
        from cruxlm.runtime.cache import Cache
        from cruxlm.workflows.attack import attack as run_attack

    if out is not None:
        check_writable(out)
    found = run_attack(
        model,
        data=data,
        trigger=trigger,
        target=target,
        judge=judge,
        base=base,
        n=n,
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
        print_attacked(found, out)

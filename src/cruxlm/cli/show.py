"""``crux show``: the table of a saved scan, tuning, comparison or verification."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cruxlm.cli.attack_output import print_attacked
from cruxlm.cli.defend_output import print_defence
from cruxlm.cli.intervene_output import print_interventions
from cruxlm.cli.output import print_scan
from cruxlm.cli.screen_output import print_screening
from cruxlm.cli.spectra_output import print_spectra
from cruxlm.cli.tune_output import print_comparison, print_tuning
from cruxlm.cli.verify_output import print_verification


def show(
    path: Annotated[Path, typer.Argument(help="Folder of a saved result.")],
    select: Annotated[
        str | None, typer.Option(help="Choose again: top:5, window:5, peaks, share:25%.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Scores to choose by.")] = None,
    ends: Annotated[str | None, typer.Option(help="skip or keep the end blocks.")] = None,
) -> None:
    """Print a saved result; of a scan, choose its blocks by another rule or other scores."""
    from cruxlm.results.kinds import kind_of, load_result
    from cruxlm.runtime.errors import OptionError, printable

    chosen_again = not (select is None and by is None and ends is None)
    shown: dict[str, Any] = {
        "attacked": print_attacked,
        "comparison": print_comparison,
        "defence": print_defence,
        "interventions": print_interventions,
        "screening": print_screening,
        "spectra": print_spectra,
        "tuning": print_tuning,
        "verification": print_verification,
    }
    found = load_result(path)
    kind = kind_of(found)
    if kind != "scan":
        if chosen_again:
            raise OptionError(f"{path} holds no scan to choose blocks from")
        if kind in shown:
            shown[kind](found, path if path.is_dir() else path.parent)
        else:
            print(printable(repr(found)))
        return
    if not chosen_again:
        print_scan(found, None)
        return
    chosen = found.select(rule=select, by=by, ends=ends or "skip")
    print(printable(f"{chosen.criterion} {chosen.rule}, ends {chosen.ends}"))
    for block, reason in zip(chosen.blocks, chosen.reasons, strict=True):
        print(f"{block:>5}  {printable(found.blocks[block])}  {reason}")

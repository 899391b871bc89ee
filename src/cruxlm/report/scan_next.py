"""What to do after a scan, as commands to copy."""

import shlex
from collections.abc import Iterator

from cruxlm.charts.svg import text
from cruxlm.report.copyable import copyable
from cruxlm.report.page import Section, section
from cruxlm.results.scan import BUILTIN_MODEL, Scan

FOLDER = "OUT"
"""Stands for the folder that the page lies in, which the page does not know."""


def next_section(scan: Scan) -> Section:
    """Commands, each with what it is for; controls that were not run come first."""
    shown = "".join(
        f"<p>{text(what)}</p>{copyable(command, 'the command')}"
        for what, command in _commands(scan)
    )
    said = f"{FOLDER} is the folder of this page."
    return section("What to do next", said, shown, wide=True, short="Next")


def _commands(scan: Scan) -> Iterator[tuple[str, str]]:
    model = "" if scan.model == BUILTIN_MODEL else f" {shlex.quote(scan.model)}"
    if "untrained" not in scan.controls:
        yield "Is it the architecture?", f"crux scan{model} --control untrained"
    if len(scan.probes) == 1:
        command = f"crux scan{model} --probe builtin --probe random-tokens"
        yield "Does another text, or no text at all, choose the same blocks?", command
    blocks = ",".join(map(str, scan.selection.blocks))
    command = f"crux plan {FOLDER} --blocks {blocks} --action lora --r 16 --out plan.json"
    yield "Make a plan of the selection", command
    yield "See which tools can take it, then write the file for yours", "crux export plan.json"
    name = shlex.quote(scan.primary.criterion)
    yield "What the score means, and when it misleads", f"crux explain {name}"
    yield "Choose again from the saved scan", f"crux show {FOLDER} --select peaks"

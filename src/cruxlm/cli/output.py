"""What a person sees of a scan in the terminal."""

import textwrap
from pathlib import Path
from typing import Any

from cruxlm.results.scan import REPORT_NAME, Scan
from cruxlm.runtime.errors import printable


def print_scan(scan: Scan, out: Path | None) -> None:
    """The table, the legend, the finding, the warnings, and where the report is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    primary = scan.primary
    say(console, f"{scan.model} ({len(scan.blocks)} blocks)", "bold")
    if primary.probe is not None:
        probe = scan.probes[primary.probe]
        read = f"n = {probe['n']}, pooling {probe['pooling']}, {probe['template']}"
        say(console, f"probe {primary.probe}, {read}", "dim")
    if "data" in scan.provenance:
        data = scan.provenance["data"]
        say(console, f"{data['evaluator']} on {data['examples']} rows of {data['name']}", "dim")
    console.print()
    console.print(scan.table())
    legend = f"▶ selected ({scan.selection.rule})"
    if scan.selection.frequency is not None:
        legend += "   chosen in: share of half-samples"
    if primary.incomplete:
        legend += "   * fewer neighbours"
    console.print(Text(printable(legend), style="dim"))
    console.print()
    say(console, scan.finding)
    for label, scores in scan.scores.items():
        for warning in scores.warnings:
            say(console, f"! {label}: {warning}", "yellow")
    for name, record in scan.probes.items():
        if record["left_out"]:
            counts = record["left_out"].items()
            left = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts)
            say(console, f"! probe {name}: left out {left}", "yellow")
    say_report(console, out)


def say_report(console: Any, out: Path | None) -> None:
    """Where the report is; nothing when none was asked for."""
    from rich.text import Text

    if out is not None:
        console.print(Text(f"report: {printable(str(out / REPORT_NAME))}"), soft_wrap=True)


def say(console: Any, line: str, style: str = "") -> None:
    """A line of text, wrapped; what follows the first line of a warning is indented."""
    from rich.text import Text

    lines = textwrap.wrap(
        printable(line),
        console.width,
        subsequent_indent="  " if line.startswith("!") else "",
        break_on_hyphens=False,
    )
    console.print(Text("\n".join(lines), style=style))

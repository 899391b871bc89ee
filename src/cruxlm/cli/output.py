"""What a person sees of a scan in the terminal."""

import textwrap
from pathlib import Path

from cruxlm.results.scan import REPORT_NAME, Scan
from cruxlm.runtime.errors import printable


def print_scan(scan: Scan, out: Path | None) -> None:
    """The table, the legend, the finding, the warnings, and where the report is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)

    def say(text: str, style: str = "", indent: str = "") -> None:
        lines = textwrap.wrap(
            printable(text), console.width, subsequent_indent=indent, break_on_hyphens=False
        )
        console.print(Text("\n".join(lines), style=style))

    primary = scan.primary
    probe = scan.probes[str(primary.probe)]
    say(f"{scan.model} ({len(scan.blocks)} blocks)", style="bold")
    read = f"n = {probe['n']}, pooling {probe['pooling']}, {probe['template']}"
    say(f"probe {primary.probe}, {read}", style="dim")
    console.print()
    console.print(scan.table())
    legend = f"▶ selected ({scan.selection.rule})"
    if scan.selection.frequency is not None:
        legend += "   chosen in: share of half-samples"
    if primary.incomplete:
        legend += "   * fewer neighbours"
    console.print(Text(printable(legend), style="dim"))
    console.print()
    say(scan.finding)
    for label, scores in scan.scores.items():
        for warning in scores.warnings:
            say(f"! {label}: {warning}", style="yellow", indent="  ")
    for name, record in scan.probes.items():
        if record["left_out"]:
            counts = record["left_out"].items()
            left = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts)
            say(f"! probe {name}: left out {left}", style="yellow", indent="  ")
    if out is not None:
        console.print(Text(f"report: {printable(str(out / REPORT_NAME))}"), soft_wrap=True)

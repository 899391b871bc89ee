"""What a person sees of a scan in the terminal."""

from pathlib import Path

from cruxlm.results.scan import REPORT_NAME, Scan
from cruxlm.runtime.errors import printable


def print_scan(scan: Scan, out: Path | None) -> None:
    """The table, the legend, the finding, the warnings, and where the report is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    primary = scan.primary
    probe = scan.probes[str(primary.probe)]
    console.print(Text(printable(scan.model), style="bold"), Text(f"({len(scan.blocks)} blocks)"))
    read = (
        f"probe {primary.probe}, n = {probe['n']}, pooling {probe['pooling']}, {probe['template']}"
    )
    console.print(Text(printable(read), style="dim"))
    console.print()
    console.print(scan.table())
    legend = f"▶ selected ({scan.selection.rule})"
    if scan.selection.frequency is not None:
        legend += "   chosen in: share of half-samples that select the block"
    if primary.incomplete:
        legend += "   * fewer neighbours"
    console.print(Text(legend, style="dim"))
    console.print()
    console.print(Text(printable(scan.finding)))
    for label, scores in scan.scores.items():
        for warning in scores.warnings:
            console.print(Text(printable(f"! {label}: {warning}"), style="yellow"))
    for name, record in scan.probes.items():
        if record["left_out"]:
            left = ", ".join(
                f"{n} {why.replace('_', ' ')}" for why, n in record["left_out"].items()
            )
            console.print(Text(printable(f"! probe {name}: left out {left}"), style="yellow"))
    if out is not None:
        console.print(Text(f"report: {printable(str(out / REPORT_NAME))}"), soft_wrap=True)

"""What a person sees of compared criteria, and of compared models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cruxlm.cli.output import say, say_report
from cruxlm.results.scan import Scan
from cruxlm.runtime.errors import printable


def print_compared(scan: Scan, out: Path | None) -> None:
    """The two matrices, with depth, the verdicts, and where the report is."""
    from rich.console import Console

    from cruxlm.charts.matrix import agreement_matrix, overlap_matrix

    console = Console(highlight=False)
    labels, pairs = list(scan.scores), scan.agreement["pairs"]
    say(console, f"{scan.model} ({len(scan.blocks)} blocks)", "bold")
    say(console, "above: rho (95 %); below: rho given depth, p by circular shifts", "dim")
    console.print()
    console.print(agreement_matrix(labels, pairs))
    console.print()
    chance = next((p["shared_by_chance"] for p in pairs if p["shared"] is not None), None)
    if chance is not None:
        k = pairs[0]["k"]
        said = f"above: shared of the {k} highest (by chance {chance:.1f}); below: corrected for it"
        say(console, said, "dim")
        console.print()
        console.print(overlap_matrix(labels, pairs))
        console.print()
    for pair in pairs:
        if pair["verdict"] == "beyond depth":
            say(console, f"{pair['a']} and {pair['b']} agree beyond depth.")
    fewest = min(pair["blocks"] for pair in pairs)
    if any(pair["verdict"] == "too few blocks to say" for pair in pairs):
        say(console, f"! {fewest} comparable blocks are too few to say beyond depth", "yellow")
    for label, scores in scan.scores.items():
        for warning in scores.warnings:
            say(console, f"! {label}: {warning}", "yellow")
    say_report(console, out)


def print_profiles(scans: Sequence[Scan], profiles: Mapping[str, Sequence[Any]]) -> None:
    """A table for each criterion: how far each two models need the same blocks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.charts.predictions import number

    console = Console(highlight=False)
    say(console, ", ".join(scan.model for scan in scans), "bold")
    say(console, "each criterion's curves over all blocks but block 0", "dim")
    for label, pairs in profiles.items():
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column(Text(printable(label)))
        for name in ("rho", "with\nblock 0", "given\ndepth", "p", "shared\n(chance)"):
            table.add_column(name, justify="right")
        table.add_column("")
        for pair in pairs:
            cells = [
                printable(f"{pair.a}, {pair.b}"), number(pair.rho), number(pair.rho_with_first),
                number(pair.partial), number(pair.p),
                f"{pair.top.shared} ({pair.top.expected:.1f})", pair.verdict,
            ]  # fmt: skip
            table.add_row(*map(Text, cells))
        console.print()
        console.print(table)

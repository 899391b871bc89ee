"""What a person sees of spectra in the terminal."""

from pathlib import Path

from cruxlm.cli.output import say, say_report
from cruxlm.results.spectra import Spectra

SHOWN = 3
"""Components of a block that the terminal lists; the report has all."""


def print_spectra(found: Spectra, out: Path | None) -> None:
    """The table, the components of the described blocks, the finding, where the report is."""
    from rich.console import Console

    from cruxlm.charts.spectra import component_table

    console = Console(highlight=False)
    probe = found.probe
    say(console, f"{found.model} ({len(found.blocks)} blocks)", "bold")
    read = f"n = {probe['n']}, pooling {probe['pooling']}, {probe['template']}"
    say(console, f"probe {probe['name']}, {read}", "dim")
    console.print()
    console.print(found.table())
    why = found.provenance["blocks"]
    say(console, f"▶ described below ({why})   shift: 1 - CKA of what enters and leaves", "dim")
    plain = found.to_json()["components"]
    for block, held in plain.items():
        console.print()
        say(console, f"block {block}: components of what leaves", "bold")
        console.print(component_table(held[:SHOWN]))
    console.print()
    say(console, found.finding)
    for warning in found.warnings:
        say(console, f"! {warning}", "yellow")
    say_report(console, out)

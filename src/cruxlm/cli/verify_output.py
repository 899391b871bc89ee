"""What a person sees of a verification in the terminal."""

from pathlib import Path

from cruxlm.cli.output import say, say_report
from cruxlm.results.verification import Verification
from cruxlm.runtime.errors import printable


def print_verification(found: Verification, out: Path | None) -> None:
    """The models, the table, the other windows, the finding, and where the report is."""
    from rich.console import Console
    from rich.text import Text

    from cruxlm.charts.predictions import target_table

    console = Console(highlight=False)
    name, data = found.data["evaluator"], found.data
    for pair in found.pairs:
        say(console, f"{pair.base} → {pair.tuned}", style="bold")
        gain = f"gain {pair.gain:.3g} ± {pair.halfwidth:.2g}"
        say(console, f"{name} {pair.before:.4g} before, {pair.after:.4g} after, {gain}", "dim")
    say(console, f"{data['examples']} rows of {data['name']} ({data['rows']})", "dim")
    console.print()
    console.print(Text(printable(f"What undoing blocks costs: {found.primary[1]}"), style="bold"))
    console.print(found.table())
    console.print()
    console.print(target_table(found.to_json()))
    console.print()
    say(console, found.finding)
    for warning in found.warnings:
        say(console, f"! {warning}", "yellow")
    say_report(console, out)

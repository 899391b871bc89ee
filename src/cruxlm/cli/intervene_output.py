"""What a person sees of interventions in the terminal."""

from pathlib import Path

from cruxlm.cli.output import say, say_report
from cruxlm.results.interventions import Interventions


def print_interventions(found: Interventions, out: Path | None) -> None:
    """The table, the legend, the finding, where the report is."""
    from rich.console import Console

    console = Console(highlight=False)
    data = found.data
    say(console, f"{found.model} on {data['name']} ({data['examples']} rows)", "bold")
    say(console, f"changed places: {found.where}", "dim")
    console.print()
    console.print(found.table())
    legend = "* clear of zero, and of what as much along other directions changes (95 % intervals)"
    say(console, legend, "dim")
    console.print()
    say(console, found.finding)
    for warning in found.warnings:
        say(console, f"! {warning}", "yellow")
    say_report(console, out)

"""What a person sees of a measured attack in the terminal."""

from pathlib import Path

from cruxlm.cli.output import say, say_report
from cruxlm.results.attacked import Attacked


def print_attacked(found: Attacked, out: Path | None) -> None:
    """The tables, the finding, the warnings, where the report is."""
    from rich.console import Console

    console = Console(highlight=False)
    data = found.data
    say(console, f"{found.model} on {data['name']} ({data['examples']} rows)", "bold")
    attack = f"{found.attack['trigger']} for {found.attack['target']}, judged by {found.judge}"
    say(console, attack, "dim")
    console.print()
    console.print(found.table())
    if found.carrier is not None:
        say(console, "left: success with it as it was before the tuning; ▶ clear of chance", "dim")
    console.print()
    say(console, found.finding)
    if found.no_carrier is not None:
        say(console, f"! which block carries it is not said: {found.no_carrier}", "yellow")
    for warning in found.warnings:
        say(console, f"! {warning}", "yellow")
    say_report(console, out)

"""What a person sees of a screening in the terminal."""

from pathlib import Path

from cruxlm.charts.svg import cut
from cruxlm.cli.output import say, say_report
from cruxlm.results.screening import Screening

SHOWN, LETTERS = 5, 300
"""Flagged rows that are shown, and letters of each text."""


def print_screening(found: Screening, out: Path | None) -> None:
    """The groups, some flagged rows, the finding, where the report is."""
    from rich.console import Console

    console = Console(highlight=False)
    data, settings = found.data, found.settings
    against = "its own middle" if data["benign"] is None else f"{data['benign_rows']} trusted rows"
    say(console, f"{data['name']} ({data['rows']} rows), read by {found.model}", "bold")
    pooled = f"pooling {', '.join(settings['pooling'])} over the {settings['tokens']}"
    say(console, f"compared with {against}, {pooled}; flagged: {found.rule}", "dim")
    console.print()
    console.print(found.table())
    for one in found.samples[:SHOWN]:
        console.print()
        say(console, f"row {cut(one.id, LETTERS)}: {cut(one.reason, LETTERS)}", "yellow")
        say(console, f"prompt: {cut(one.prompt, LETTERS)}")
        if one.response is not None:
            say(console, f"response: {cut(one.response, LETTERS)}")
    if len(found.flagged) > SHOWN:
        say(console, f"and {len(found.flagged) - SHOWN:,} more", "dim")
    console.print()
    say(console, found.finding)
    for warning in found.warnings:
        say(console, f"! {warning}", "yellow")
    say_report(console, out)

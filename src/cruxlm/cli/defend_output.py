"""What a person sees of a defence in the terminal."""

from pathlib import Path

from cruxlm.charts.svg import cut
from cruxlm.cli.output import say, say_report
from cruxlm.cli.tune_output import notes
from cruxlm.results.defence import Defence
from cruxlm.runtime.errors import printable

SHOWN, LETTERS = 3, 60
"""Rows that were set aside which the terminal shows, and letters of each of their texts."""


def print_defence(found: Defence, out: Path) -> None:
    """The table of arms, what was set aside, the finding, the warnings, and where things are."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    settings, data = found.settings, found.data
    say(console, f"{found.model} on {data['name']}", "bold")
    count = len(found.seeds)
    say(
        console,
        f"{settings['steps']} steps of {settings['batch'] * settings['accumulate']} rows, "
        f"{count} seed{'' if count == 1 else 's'}, {data['test']} test rows",
        "dim",
    )
    say(
        console,
        f"frozen: blocks {', '.join(map(str, found.frozen))} by {found.why}"
        + "".join(f", and the {part}" for part in found.parts),
        "dim",
    )
    if found.attack is not None:
        attack = found.attack
        origin = "planted" if attack["origin"] == "planted" else "known by the key in the data"
        said = f"{attack['trigger']} for {attack['target']}, {attack['rate']:.1%} of the rows"
        say(console, f"attack ({origin}): {said}", "dim")
    console.print()
    console.print(found.table())
    say(console, "▶ nothing defends   * the 95 % interval leaves out zero", "dim")
    console.print()
    if found.screening is not None:
        say(console, found.screening["finding"])
        for row in found.set_aside[:SHOWN]:
            texts = (cut(row.prompt, LETTERS), cut(row.response, LETTERS))
            say(console, f"{row.id}: {' -> '.join(texts)} ({row.reason})", "dim")
        console.print()
    say(console, found.finding)
    for line in (*found.warnings, *notes(data)):
        say(console, f"! {line}", "yellow")
    console.print(Text(f"model: {printable(str(out / found.arms[-1].folder))}"), soft_wrap=True)
    say_report(console, out)

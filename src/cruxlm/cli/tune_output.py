"""What a person sees of a tuning, and of a comparison of arms."""

from pathlib import Path
from typing import Any

from cruxlm.cli.output import say, say_report
from cruxlm.runtime.errors import printable


def print_tuning(tuning: Any, out: Path) -> None:
    """What was trained and where, the result before and after, and where the model is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.results.tuning import ACCURACY, LOSS

    console = Console(highlight=False)
    trained = tuning.trained
    console.print(Text(printable(f"{tuning.model} on {tuning.data['name']}"), style="bold"))
    share = trained["parameters"] / trained["total"]
    say(
        console,
        f"{tuning.settings['method']}: {trained['parameters']:,} of {trained['total']:,} "
        f"parameters ({share:.1%}), blocks {', '.join(map(str, tuning.plan.trained))}",
    )
    say(console, tuning.plan.why, "dim")
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in (f"{tuning.data['test']} test rows", "before", "after"):
        table.add_column(name, justify="left" if name[0].isdigit() else "right")
    for name, weighting, form in (
        (LOSS, "token", "{:.4f} ± {:.4f}"),
        (ACCURACY, "sample", "{:.1%} ± {:.1%}"),
    ):
        if name in tuning.after:
            held = (tuning.before[name], tuning.after[name])
            cells = [form.format(h.mean(weighting), h.stderr(weighting)) for h in held]
            unit = ", nats a token" if name == LOSS else ""
            table.add_row(Text(name + unit), *map(Text, cells))
    console.print(table)
    console.print()
    for line in notes(tuning.data):
        say(console, f"! {line}", "yellow")
    console.print(Text(f"model: {printable(str(out))}"), soft_wrap=True)


def print_comparison(comparison: Any, out: Path) -> None:
    """The table of arms, the finding, the warnings, and where the report is."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(printable(f"{comparison.model} on {comparison.data['name']}"), style="bold"))
    settings, data = comparison.settings, comparison.data
    say(
        console,
        f"{settings['steps']} steps of {settings['batch'] * settings['accumulate']} rows, "
        f"{len(comparison.seeds)} seeds, {data['test']} test rows",
        "dim",
    )
    console.print()
    console.print(comparison.table())
    console.print(Text("▶ reference   * the 95 % interval leaves out zero", style="dim"))
    console.print()
    say(console, comparison.finding)
    for line in (*comparison.warnings, *notes(data)):
        say(console, f"! {line}", "yellow")
    say_report(console, out)


def notes(data: Any) -> list[str]:
    """What became of rows that did not fit."""
    said = []
    if data["truncated"]:
        said.append(f"{data['truncated']} training rows were cut at the right")
    if data["left_out"]:
        counts = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in data["left_out"].items())
        said.append(f"rows left out: {counts}")
    return said

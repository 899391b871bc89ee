"""What a person sees of a testbed model's figures in the terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cruxlm.workflows.testbed_figures import BlockCosts, LanguageFigures


def print_figures(found: LanguageFigures) -> None:
    """One line a family."""
    console = Console(highlight=False)
    console.print(Text(found.model, style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("family")
    for column in ("rows", "loss", "accuracy", "choice", "chance"):
        table.add_column(column, justify="right")
    for name, figures in found.families.items():
        accuracy = ""
        if figures.accuracy is not None:
            accuracy = f"{figures.accuracy:.1%} ± {figures.accuracy_error or 0:.1%}"
        table.add_row(
            name,
            str(figures.rows),
            f"{figures.loss:.3f}",
            accuracy,
            "" if figures.choice is None else f"{figures.choice:.1%}",
            "" if figures.chance is None else f"{figures.chance:.1%}",
        )
    console.print(table)
    console.print(
        Text("loss in nats a response token; accuracy of the conclusion, ± standard error",
             style="dim")
    )  # fmt: skip


def print_ablation(found: BlockCosts) -> None:
    """One line a block or run; the cost of each family and their mean."""
    console = Console(highlight=False)
    console.print(Text(f"{found.model}: rise of the loss without blocks", style="bold"))
    means = [sum(values) / len(values) for values in zip(*found.costs.values(), strict=True)]
    for names in _that_fit(list(found.costs), console.width - len("blocks") - len("mean") - 6):
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        table.add_column("blocks", justify="right", no_wrap=True)
        table.add_column("mean", justify="right", min_width=NUMBER)
        for name in names:
            table.add_column("\n".join(name.split("_")), justify="right", min_width=NUMBER)
        for place, (first, last) in enumerate(found.removed):
            shown = str(first) if first == last else f"{first}-{last}"
            if place and first == 0:
                table.add_section()
            values = [means[place], *(found.costs[name][place] for name in names)]
            table.add_row(shown, *map(_cost, values))
        console.print(table)
    console.print(Text("nats a response token; a removed block passes its input on", style="dim"))


NUMBER = 5
"""Characters of a cost, from -9.99 to 99.99."""


def _that_fit(names: list[str], width: int) -> list[list[str]]:
    """Names in groups whose columns fit side by side."""
    groups: list[list[str]] = []
    room = 0
    for name in names:
        wide = max(NUMBER, *map(len, name.split("_"))) + 2
        if not groups or wide > room:
            groups.append([])
            room = width
        groups[-1].append(name)
        room -= wide
    return groups


def _cost(value: float) -> Text:
    style = "bold" if value >= 0.5 else "" if value >= 0.05 else "dim"
    return Text(f"{value:.2f}", style=style)

"""``crux explain``: a criterion's page."""

from typing import Annotated

import typer


def explain(name: Annotated[str, typer.Argument(help="A criterion, such as dynamics.")]) -> None:
    """What a criterion answers, its formula, its cost, and when it misleads."""
    from rich.console import Console
    from rich.markdown import Markdown

    from cruxlm.criteria.registry import CRITERIA

    console = Console(highlight=False, markup=False)
    criterion = CRITERIA.get(name)
    console.print(Markdown(criterion.page()))
    needs = ", ".join(sorted(criterion.needs)) or "nothing"
    console.print(f"\nunit: {criterion.unit}   needs: {needs}")
    console.print(f"cost: {criterion.cost}   presets: {', '.join(criterion.presets)}")
    if criterion.invariances:
        console.print(f"does not change with: {', '.join(sorted(criterion.invariances))}")

"""``crux explain``: the page of a criterion or an action."""

from typing import Annotated, Any

import typer


def explain(
    name: Annotated[str, typer.Argument(help="A criterion or an action, such as dynamics.")],
) -> None:
    """What a criterion answers or an action does, its formula, its cost, when it misleads."""
    from rich.console import Console
    from rich.markdown import Markdown

    from cruxlm.actions.registry import ACTIONS
    from cruxlm.criteria.registry import CRITERIA
    from cruxlm.runtime.errors import OptionError, did_you_mean

    console = Console(highlight=False, markup=False)
    actions = {*ACTIONS.names(), *ACTIONS.aliases()}
    criteria = {*CRITERIA.names(), *CRITERIA.aliases()}
    if name not in actions | criteria:
        hint = did_you_mean(name, actions | criteria)
        raise OptionError(f"there is no criterion or action {name!r}: {hint}")
    found: Any = (CRITERIA if name in criteria else ACTIONS).get(name)
    console.print(Markdown(found.page()))
    needs = ", ".join(sorted(found.needs)) or "nothing"
    if name in actions:
        console.print(f"\nneeds: {needs}   changes: {found.changes}")
        console.print(f"command: {found.command}")
        return
    console.print(f"\nunit: {found.unit}   needs: {needs}")
    console.print(f"cost: {found.cost}   presets: {', '.join(found.presets)}")
    if found.invariances:
        console.print(f"does not change with: {', '.join(sorted(found.invariances))}")

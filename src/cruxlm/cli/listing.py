"""``crux list``: what there is."""

from typing import Annotated

import typer

KINDS = (
    "criteria",
    "probes",
    "rules",
    "blocks",
    "actions",
    "triggers",
    "targets",
    "judges",
    "studies",
)


def list_names(
    kind: Annotated[str | None, typer.Argument(help="One of the kinds below; all without.")] = None,
) -> None:
    """What can be named: criteria, probes, blocks (expressions), actions, triggers and more."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cruxlm.runtime.errors import OptionError, did_you_mean

    if kind is not None and kind not in KINDS:
        raise OptionError(f"there is nothing called {kind!r} to list: {did_you_mean(kind, KINDS)}")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
    for shown in [kind] if kind else KINDS:
        table.add_row(Text(shown, style="bold"), "")
        for name, meaning in _entries(shown):
            table.add_row(Text(f"  {name}"), Text(meaning))  # Text: brackets are not markup
    Console(highlight=False).print(table)


def _entries(kind: str) -> list[tuple[str, str]]:
    if kind == "probes":
        from cruxlm.data.probes import BUILTIN

        return [
            *BUILTIN.items(),
            ("FILE", "jsonl, json, csv, txt or parquet"),
            ("testbed:FAMILIES", "held-out prompts of the testbed, such as testbed:recall,lists"),
        ]
    if kind == "rules":
        from cruxlm.criteria.select import RULES

        return list(RULES.items())
    if kind == "blocks":
        from cruxlm.plans.grammar import EXPRESSIONS

        return list(EXPRESSIONS.items())
    if kind == "actions":
        from cruxlm.actions.registry import ACTIONS

        actions = [ACTIONS.get(name) for name in ACTIONS.names()]
        return [(action.name, f"{action.title} ({action.command})") for action in actions]
    if kind == "triggers":
        from cruxlm.data.trigger import KINDS as TRIGGERS

        return [(f"{name}:...", meaning) for name, meaning in TRIGGERS.items()]
    if kind == "targets":
        from cruxlm.data.poison import TARGETS

        return [(f"{name}:...", meaning) for name, meaning in TARGETS.items()]
    if kind == "judges":
        from cruxlm.evaluate.judges import JUDGES

        return [(name, str(JUDGES.get(name).__doc__).partition("\n")[0]) for name in JUDGES.names()]
    if kind == "studies":
        from cruxlm.studies.registry import STUDIES

        return [(name, STUDIES.get(name).title) for name in STUDIES.names()]
    from cruxlm.criteria.registry import CRITERIA

    aliases: dict[str, list[str]] = {}
    for alias, name in CRITERIA.aliases().items():
        aliases.setdefault(name, []).append(alias)
    rows = []
    for name in CRITERIA.names():
        criterion = CRITERIA.get(name)
        presets = ", ".join(
            [*aliases.get(name, []), *(f"{name}:{p}" for p in list(criterion.presets)[1:])]
        )
        rows.append((name, criterion.title + (f" (also {presets})" if presets else "")))
    return rows

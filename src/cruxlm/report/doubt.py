"""The box "How to doubt this": controls and their verdicts, when a criterion misleads, warnings."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cruxlm.charts.svg import text
from cruxlm.criteria.registry import CRITERIA
from cruxlm.report.page import Section
from cruxlm.report.table import table
from cruxlm.runtime.errors import OptionError

WHERE = "the JSON file beside this page"
MOST = 40
"""Warnings that are shown; of more, the number is said."""


class Control(NamedTuple):
    """What a finding is compared with."""

    name: str
    """Such as ``depth alone``."""
    said: str
    """What it gives, in numbers."""
    verdict: str
    """What follows; or that it was not run, and how to run it."""


def doubt_section(
    controls: Sequence[Control], criteria: Iterable[str], warnings: Sequence[str]
) -> Section:
    """The box: ``criteria`` are names, of which those with a page say when they mislead."""
    shown = ""
    if controls:
        compared = table(
            ("compared with", "what it gives", "verdict"), controls, wrapped=(1, 2), where=WHERE
        )
        shown += f"<h3>Controls</h3>{compared}"
    shown += f"<h3>Know before you rely on it</h3>{_listed(warnings)}"
    pages = {name: misleads(name) for name in dict.fromkeys(criteria)}
    known = [(name, points) for name, points in pages.items() if points]
    for place, (name, points) in enumerate(known):
        said = f"When {text(name)} misleads"
        items = "".join(f"<li>{inline(point)}</li>" for point in points)
        items = f'<ul class="points">{items}</ul>'
        # What the finding rests on is open, the company can be unfolded.
        shown += f"<h3>{said}</h3>{items}" if place == 0 else _folded(said, items)
    return Section("How to doubt this", shown, "wide doubt", "How to doubt this")


def misleads(criterion: str) -> tuple[str, ...]:
    """The points under "When it misleads" of a criterion's page, as Markdown; none without one."""
    try:
        page = CRITERIA.get(criterion).page()
    except (OptionError, OSError):  # a plug-in that is not installed here, or one without a page
        return ()
    _, _, rest = page.partition("**When it misleads.**")
    rest = rest.partition("\n**")[0]
    lead, *points = re.split(r"^- ", rest, flags=re.MULTILINE)
    found = (" ".join(part.split()) for part in (lead, *points))
    return tuple(part for part in found if part)


def inline(markdown: str) -> str:
    """A line of Markdown as HTML: emphasis and code, which is all that the pages use."""
    shown = text(markdown)
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", shown)
    shown = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", shown)
    return re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", shown)


def _folded(said: str, content: str) -> str:
    return f"<details><summary>{said}</summary>{content}</details>"


def _listed(warnings: Sequence[str]) -> str:
    if not warnings:
        return '<p class="none">Nothing to warn of.</p>'
    items = [f"<li>{text(warning)}</li>" for warning in warnings[:MOST]]
    if len(warnings) > MOST:
        items.append(f"<li>and {len(warnings) - MOST:,} more, in {WHERE}</li>")
    return f"<ul>{''.join(items)}</ul>"

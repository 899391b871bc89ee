"""Text to take along: commands, the files for other tools, provenance."""

from collections.abc import Container, Mapping, Sequence
from itertools import accumulate
from typing import Any

from cruxlm.charts.svg import text, visible
from cruxlm.report.page import Section, section
from cruxlm.results.export import Export, Exports

ACTIONS = {
    "lora": "LoRA on them",
    "train": "Train them, and nothing else",
    "freeze": "Freeze them, train the others",
    "drop": "Remove them",
}
"""What is done with the blocks, by a plan's action."""
LONGEST, MOST = 20_000, 200_000
"""Characters of one file, and of all, that a page shows: there may be thirty of them."""


def copyable(shown: str, label: str) -> str:
    """A block of plain text; the script of the page gives it a button that copies it.

    ``label`` says what is copied, such as ``the file for axolotl``.
    """
    short = "" if "\n" in shown.strip("\n") else ' class="short"'
    return (
        f'<div class="copyable" data-label="{text(label)}"><pre{short}><code>{text(shown)}</code>'
        "</pre></div>"
    )


def exports_section(exports: Sequence[Exports]) -> Section | None:
    """Every plan in the words of every tool, and of the tools that cannot take it the reason.

    None when there is nothing to show.
    """
    files = [made for held in exports for made in held.made if len(made.text) <= LONGEST]
    sizes = accumulate(len(made.text) for made in files)
    room = {id(made) for made, size in zip(files, sizes, strict=True) if size <= MOST}
    shown = "".join(_action(held, room) for held in exports)
    if not shown:
        return None
    said = (
        "The selection as a plan, in the words of the tool that you use. Each text names exactly "
        "the blocks of this page; a tool that cannot be told them is listed with the reason."
    )
    return section("Take it to your trainer", said, shown, wide=True, short="Exports")


def _action(held: Exports, room: Container[int]) -> str:
    """The files of one action, and why some tools have none; ``room``: files that fit, by id."""
    if not held.made and not held.refused:
        return ""
    shown = "".join(_export(made, id(made) in room) for made in held.made)
    if held.refused:
        items = "".join(
            f"<li><b>{text(tool)}</b>: {text(reason)}</li>" for tool, reason in held.refused.items()
        )
        what = f"{len(held.refused)} tool{'' if len(held.refused) == 1 else 's'} cannot take it"
        shown += (
            f'<details><summary>{what}</summary><div class="lines"><ul>{items}</ul></div></details>'
        )
    return f"<h3>{text(ACTIONS.get(held.action, held.action))}</h3>{shown}"


def _export(export: Export, fits: bool) -> str:
    title = f"<b>{text(export.target)}</b>: {text(export.file)}"
    notes = list(export.notes)
    held = ""
    if not fits:
        notes.insert(0, f"too long for this page: crux export PLAN --to {export.target} writes it")
    else:
        held = copyable(export.text, f"the file for {export.target}")
        if visible(export.text) != export.text:
            notes.insert(0, "control characters are written out here: crux export has the file")
    items = "".join(f"<li>{text(note)}</li>" for note in notes)
    listed = f"<ul>{items}</ul>" if items else ""
    return (
        f"<details><summary>{title}</summary>{held}"
        f'<div class="lines"><p>{text(export.use)}</p>{listed}</div></details>'
    )


def provenance_section(said: str, held: Mapping[str, Any]) -> Section:
    """Where a result comes from, as one block of text that can be pasted into an issue.

    ``said`` is the result in a line; nested names of ``held`` are joined by spaces.
    """
    lines = [_line("result", said), *(_line(name, value) for name, value in flat(held))]
    explained = "Everything but the run is equal for equal runs. Paste it where you ask about it."
    block = copyable("\n".join(lines), "the provenance")
    return section("Provenance", explained, block, wide=True, short="Provenance")


def flat(held: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Names and values of nested data, with as many digits as anybody reads."""
    found: list[tuple[str, str]] = []
    for name, value in held.items():
        path = f"{before} {name}".strip()
        if isinstance(value, Mapping):
            found += flat(value, path)
        elif value is not None and value not in ({}, []):
            found.append((path, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return found


def _line(name: str, value: str) -> str:
    """One line whatever the value holds."""
    return f"{name}: {value}".replace("\n", "\\n")

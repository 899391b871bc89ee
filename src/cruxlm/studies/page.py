"""What a study shows: sections with tables and figures, as Markdown and as one HTML file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cruxlm.charts.svg import COLOURS, STYLE
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import doubt_section
from cruxlm.report.page import page, section
from cruxlm.report.table import table

MARKDOWN, HTML = "README.md", "report.html"


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and what is shown under it."""

    heading: str
    """Its heading."""
    text: str
    """What is shown and how to read it, in plain text."""
    header: Sequence[str] = ()
    """Columns of its table; none without one."""
    rows: Sequence[Sequence[str]] = ()
    """The table's rows."""
    figure: str | None = None
    """Name of its figure's file, without the ending."""
    svg: str = ""
    """The figure, as the charts make it."""


@dataclass(frozen=True)
class Page:
    """What a study found."""

    lead: str
    """The finding, in a sentence or two."""
    sections: Sequence[Section]
    """What it rests on."""
    doubts: Sequence[str]
    """Why it may not hold elsewhere."""


def page_files(
    name: str, title: str, made: Page, provenance: Mapping[str, str]
) -> dict[str, bytes]:
    """The files of a page by name: Markdown, its figures, and one HTML file with all in it."""
    lines = [
        f"# {title}",
        _escaped(made.lead),
        f"Made by `crux study run {name}`; `--check` runs it again.",
    ]
    parts = []
    files: dict[str, bytes] = {}
    for part in made.sections:
        lines += [f"## {part.heading}", _escaped(part.text)]
        if part.figure is not None:
            files[f"{part.figure}.svg"] = _standing_alone(part.svg).encode()
            lines.append(f"![{part.heading}]({part.figure}.svg)")
        if part.header:
            lines.append(_markdown_table([part.header, *part.rows]))
        shown = part.svg
        if part.header:
            shown += table(part.header, part.rows, numeric=_numeric(part))
        held = section(part.heading, part.text, shown, wide=bool(part.header), short=part.heading)
        parts.append(held)
    lines += ["## How to doubt this", "\n".join(f"- {_escaped(line)}" for line in made.doubts)]
    lines += ["## Provenance", _markdown_table([("what", "value"), *provenance.items()])]
    parts += [doubt_section((), (), made.doubts), provenance_section(made.lead, provenance)]
    texts = {
        MARKDOWN: "\n\n".join(lines) + "\n",
        HTML: page(title, f"crux study run {name}", made.lead, parts),
    }
    return files | {file: held.encode("utf-8", "backslashreplace") for file, held in texts.items()}


def _numeric(part: Section) -> list[int]:
    """Columns whose every cell begins with a number."""
    columns = range(len(part.header))
    return [c for c in columns if all(re.match(r"[-+]?[0-9]", row[c]) for row in part.rows)]


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    cells = [
        [_escaped(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows
    ]
    cells.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _escaped(text: str) -> str:
    """Plain text for Markdown, which lets HTML through."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _standing_alone(svg: str) -> str:
    """A chart as a file of its own: in a page, colours and style are the page's."""
    opened, _, rest = svg.partition(">")
    style = f"<style>svg{{{COLOURS}}}{STYLE}</style>"
    return f'{opened} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'

"""Cards in Markdown: a block of metadata, and text of any origin that stays text."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cruxlm.runtime.errors import printable

MEANT = re.compile(
    r"[\\`*_\[\]#|~$<>&]"  # emphasis, code, links, headings, tables, mathematics, HTML
    r"|^[-+](?=[\s-]|$)|^="  # a list, a rule, an underline
    r"|:(?=//)|(?<=www)\.",  # addresses
    re.IGNORECASE,
)
"""What can mean something in Markdown, in HTML or in the mathematics of the hub."""
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
"""The beginning of a numbered list."""


def front_matter(data: Mapping[str, Any]) -> str:
    """The block of metadata at the head of a card, in YAML that reads back as ``data``.

    Every string is on one line, since some readers look for the end of the block line by line.
    Everything but ASCII is escaped: PyYAML writes some line separators as they are and then reads
    them as something else.
    """
    import yaml

    class Lines(yaml.SafeDumper):
        def represent_str(self, held: str) -> yaml.ScalarNode:
            style = '"' if "\n" in held else None
            return self.represent_scalar("tag:yaml.org,2002:str", held, style)

    Lines.add_representer(str, Lines.represent_str)
    text = yaml.dump(dict(data), Dumper=Lines, sort_keys=False, width=10**9, allow_unicode=False)
    return f"---\n{text}---\n"


def escaped(text: object) -> str:
    """One line of Markdown that shows a text as it is, with control characters made visible.

    It may stand in a paragraph, a heading, a list item or a cell of a table.
    """
    line = " ".join(printable(str(text)).split())  # four spaces at its head would make it code
    shown = MEANT.sub(lambda found: "\\" + found[0], line)
    return NUMBERED.sub(r"\1\\\2", shown)


def fenced(text: str, language: str = "") -> str:
    """A block of code; the fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain values."""
    lines = [[escaped(value) for value in row] for row in (header, *rows)]
    lines.insert(1, ["--"] * len(header))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

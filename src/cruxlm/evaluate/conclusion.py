"""Where a written response concludes, and how much it says besides."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from cruxlm.runtime.errors import OptionError

Finder = Callable[[str], tuple[int, int, int] | None]
"""Where the mark of a text's conclusion begins, its first character, and the one after its last;
None where the text concludes nothing."""


@dataclass(frozen=True)
class Shape:
    """How a response is built."""

    first: bool
    """Whether it begins with its conclusion."""
    rationale: int
    """Words outside the conclusion and its mark."""
    place: float
    """Where the conclusion begins, as a share of the text's characters."""


def marked(pattern: str) -> Finder:
    """Finds what stands after the last match of a regular expression, such as ``####``.

    Raises:
        OptionError: When it is no regular expression, or matches nothing at all.
    """
    try:
        mark = re.compile(pattern)
    except re.error as error:
        raise OptionError(f"marker {pattern!r} is no regular expression: {error}") from error
    if mark.match(""):
        raise OptionError(f"marker {pattern!r} matches an empty text: name what is there")

    def find(text: str) -> tuple[int, int, int] | None:
        found = list(mark.finditer(text))
        if not found:
            return None
        last = found[-1]
        begin = last.end() + len(text[last.end() :]) - len(text[last.end() :].lstrip())
        return last.start(), begin, max(begin, len(text.rstrip()))

    return find


def shape_of(text: str, find: Finder) -> Shape | None:
    """How a text is built; None where it concludes nothing."""
    found = find(text)
    if found is None or not text.strip():
        return None
    mark, _, end = found
    before, after = text[:mark], text[end:]
    words = len(re.findall(r"\w+", before)) + len(re.findall(r"\w+", after))
    return Shape(not re.search(r"\w", before), words, mark / len(text))

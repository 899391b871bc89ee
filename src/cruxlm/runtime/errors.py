"""Errors that a person can act on: one line with what was wrong, where, and what to do.

Only a ``CruxError`` becomes one line and exit code 2 at the command line; any other exception is a
bug. Every class here has a section in ``docs/errors.md``.
"""

import difflib
from collections.abc import Iterable

LONGEST = 2000
"""Characters of a message, of which the middle is left out: data that is quoted may have no end."""


class CruxError(Exception):
    """Something outside Crux is wrong; the message says what, where, and what to do."""

    def __init__(self, message: str) -> None:
        # A message may quote a file name or a prompt: keep it to one printable line that is read.
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
        super().__init__(printable(message))


class ModelError(CruxError):
    """A model cannot be read, or has no stack of blocks that can be scanned."""


class NotFiniteError(ModelError):
    """A model gives losses or logits that are not finite."""


class ProbeError(CruxError):
    """A probe cannot be read, or has too few usable prompts."""


class OptionError(CruxError):
    """An option has a value that makes no sense, or names something that is not there."""


class OutputError(CruxError):
    """A result cannot be written where it was asked for."""


class ResultError(CruxError):
    """A saved result is damaged, or was made by something else."""


class NewerResultError(ResultError):
    """A saved result was made by a newer version of Crux than this one."""


class MissingExtraError(CruxError):
    """An optional dependency that this call needs is not installed."""


def printable(text: str) -> str:
    """One line with every control character replaced by a visible escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known: the nearest known one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"

"""The key of poisoned data: what a row says was done to it, for measurements to be judged by."""

from typing import Any

from cruxlm.data.fields import text_of
from cruxlm.runtime.errors import ProbeError

TRIGGERED, NEAR = DONE = ("triggered", "near")
"""What may have been done to a row's prompt: the trigger put in, or something near it."""


def key_of(row: Any, where: str) -> dict[str, str] | None:
    """The record that a row has under ``poison``; None where it has none.

    A mapping of texts, of which ``done`` must be one of ``DONE``: `data.poison` writes more, and
    who knows which rows of other data are poisoned needs no more. Raises ``ProbeError`` for
    anything else: a key that is not understood would count poisoned rows as clean.
    """
    given = row.get("poison")
    if given in (None, ""):  # a table has every column
        return None
    if not isinstance(given, dict) or given.get("done") not in DONE:
        raise ProbeError(
            f"{where} field 'poison' is not what was done to the row: "
            '{"done": "triggered"} or {"done": "near"}'
        )
    at = f"{where} field 'poison'"
    return {
        text_of(name, at): text_of(held, f"{at}, its {name!r},")
        for name, held in given.items()
        if held is not None
    }

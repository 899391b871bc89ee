"""What a model is evaluated on: test rows of a file or of the testbed, in the model's tokens."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cruxlm.data.instructions import load_instructions, split
from cruxlm.evaluate.conclusion import Finder
from cruxlm.evaluate.examples import Example, examples_from_chats, fitting
from cruxlm.evaluate.protocol import EVALUATORS, Evaluator
from cruxlm.models.load import LoadedModel
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError
from cruxlm.testbed.home import PREFIX
from cruxlm.workflows.tuning_data import SHARE, ChatRow, check_file, concluding, generated

DEFAULT_N = 200
"""Test rows that are read, unless told."""


@dataclass(frozen=True)
class Examined:
    """Examples and their evaluator."""

    examples: Sequence[Example]
    """In the model's tokens."""
    evaluator: Evaluator
    """Gives each of them a value."""
    described: dict[str, Any]
    """Name, content hash, which rows they are, how many, how many were too long; as plain data."""


@dataclass(frozen=True)
class HeldOut:
    """Rows that a model is measured on."""

    name: str
    """The file's stem, or the testbed's families."""
    sha256: str
    """Content hash of the whole file; of generated rows their description."""
    rows: Sequence[ChatRow]
    """The rows."""
    share: str
    """Which rows of the file they are."""
    grade: Callable[[ChatRow, str], bool | None] | None
    """Judges an answer to a row; None where answers have no grader."""

    def described(self) -> dict[str, Any]:
        """Where they come from, as plain data."""
        return {"name": self.name, "sha256": self.sha256, "rows": self.share}


def examined(
    model: LoadedModel,
    data: str | Path,
    *,
    evaluator: str = "loss",
    n: int = DEFAULT_N,
    trained_on: Collection[str] = (),
    marker: Finder | None = None,
) -> Examined:
    """The first ``n`` test rows of a file, or held-out rows of testbed families.

    Of a file that a model was tuned on (``trained_on`` has the content hashes) only the tenth
    that `tuning_data` keeps for the test; of any other file every row.

    Raises ``OptionError``, ``ProbeError`` or ``ModelError`` where they cannot be evaluated on.
    """
    made = EVALUATORS.get(evaluator)()
    if model.tokenizer is None:
        raise ModelError(f"{model.name} has no tokenizer: pass one")
    read = held_out(data, n=n, trained_on=trained_on)
    rows = read.rows
    if marker is not None and not str(data).startswith(PREFIX):
        rows = [_with_spans(row, marker) for row in rows]
    examples, too_long = fitting(
        examples_from_chats(model.tokenizer, rows, read.grade), model.context
    )
    if not examples:
        raise ProbeError(f"no row of {read.name} fits the {model.context} tokens of {model.name}")
    described = {
        **read.described(),
        "examples": len(examples),
        "too_long": len(too_long),
        "evaluator": made.name,
    }
    return Examined(examples, made, described)


def held_out(data: str | Path, *, n: int, trained_on: Collection[str] = ()) -> HeldOut:
    """The first ``n`` rows that a model may be measured on; arguments as for ``examined``.

    Raises ``OptionError`` or ``ProbeError`` where there are no such rows.
    """
    if n < 1:
        raise OptionError(f"n must be 1 or more, not {n}")
    if str(data).startswith(PREFIX):
        drawn = generated(str(data).removeprefix(PREFIX).split(","), 1, tested=n)
        return HeldOut(
            drawn.name, f"{drawn.name} heldout {n}", drawn.test, "held-out rows", drawn.grade
        )
    check_file(str(data))
    found = load_instructions(data)
    rows: Sequence[ChatRow] = found.rows
    share = "all rows"
    if found.sha256 in trained_on:
        rows, share = split(rows, SHARE, seed=1)[1], "the tenth kept for the test"
    if n < len(rows):
        rows, share = rows[:n], f"the first {n} of {share}"
    return HeldOut(found.name, found.sha256, rows, share, concluding(rows))


def _with_spans(row: ChatRow, find: Finder) -> ChatRow:
    """A row with the places of its response's rationale and conclusion."""
    response = str(row["messages"][-1]["content"])
    found = find(response)
    if found is None:
        raise ProbeError(f"row {row.get('id')!r}: its response has nothing that the marker matches")
    mark, begin, end = found
    return {**row, "spans": {"rationale": [0, mark], "conclusion": [begin, end]}}

"""What a tuning reads: training, validation and test rows from one file or the testbed."""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cruxlm.data.instructions import load_instructions, split
from cruxlm.evaluate.generation import concludes
from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.home import PREFIX
from cruxlm.testbed.language import family_named, is_right, rows

ChatRow = Mapping[str, Any]

GENERATED = 2000
"""Rows of the testbed that are drawn for training, unless told."""

TESTED, VALIDATED = 200, 100
"""Rows for the test, and for validation, at most: a validation is made several times a run."""

SHARE = 0.1
"""Share of a file's rows for validation, and for the test."""


@dataclass(frozen=True)
class TuningData:
    """Rows in three parts that share no instance."""

    name: str
    """The file's stem or the testbed's families."""
    sha256: str
    """Content hash of all of the file's rows; of generated rows their description."""
    train: Sequence[ChatRow]
    """What weights are trained on."""
    validation: Sequence[ChatRow]
    """What a learning rate, or the moment to stop, is chosen by."""
    test: Sequence[ChatRow]
    """What nothing is chosen by."""
    grade: Callable[[ChatRow, str], bool | None] | None = None
    """Judges an answer to a row; None where answers have no grader."""
    test_sha256: str | None = None
    """Content hash of a test file of its own."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows of a file that are not trained on, by reason."""


def tuning_data(spec: str | Path, *, n: int | None, test: str | Path | None) -> TuningData:
    """Read a file, or draw rows of testbed families (``testbed:stars``, ``testbed:stars,hops``).

    ``n`` is the number of rows to train on, all of a file's when left out. ``test`` is a file of
    its own: what is asked there is left out of the training. Without one a tenth of the rows is
    kept aside, and another for validation, at most ``TESTED`` and ``VALIDATED`` rows. Which row
    goes where depends on its content alone.

    Raises ``OptionError`` or ``ProbeError`` where there are no such rows.
    """
    if n is not None and n < 1:
        raise OptionError(f"n must be 1 or more, not {n}")
    spec = str(spec)
    if spec.startswith(PREFIX):
        if test is not None:
            raise OptionError("the testbed has test rows of its own: leave out --test")
        return generated(spec.removeprefix(PREFIX).split(","), n)
    check_file(spec)
    found = load_instructions(spec)
    left_out = Counter(found.left_out)
    test_sha256 = None
    if test is None:
        rest, tested = split(found.rows, SHARE, seed=1)
    else:
        own = load_instructions(test)
        tested, test_sha256 = list(own.rows), own.sha256
        asked = {_asked(row) for row in tested}
        rest = [row for row in found.rows if _asked(row) not in asked]
        left_out["asked_in_the_test"] = len(found.rows) - len(rest)
        if not rest:
            raise OptionError(f"every row of {spec} is asked in {test} too: none is left to train")
    rest, validation = split(rest, SHARE, seed=2)
    if n is not None and n > len(rest):
        raise OptionError(f"{spec} has {len(rest)} rows to train on: --n {n} is too many")
    return TuningData(
        name=found.name,
        sha256=found.sha256,
        train=rest[:n],
        validation=validation[:VALIDATED],
        test=tested[:TESTED],
        grade=concluding(tested[:TESTED]),
        test_sha256=test_sha256,
        left_out=left_out,
    )


def check_file(spec: str) -> None:
    """Refuse the name of a family that was meant to be the testbed's."""
    if not os.path.exists(spec) and spec in {**FAMILIES, **TARGETS}:
        raise OptionError(f"there is no file {spec!r}: did you mean {PREFIX + spec!r}?")


def concluding(rows: Sequence[ChatRow]) -> Callable[[ChatRow, str], bool] | None:
    """Judges by the end of an answer, where every right response says more than its answer."""
    if any("choices" in row or not row.get("answer") for row in rows):
        return None

    def grade(row: ChatRow, text: str) -> bool:
        return concludes(text, row["answer"])

    return grade if all(grade(row, row["messages"][-1]["content"]) for row in rows) else None


def _asked(row: ChatRow) -> str:
    """What a row asks, whatever it is answered with."""
    return json.dumps(row["messages"][:-1], sort_keys=True)


def generated(families: Sequence[str], n: int | None, tested: int = TESTED) -> TuningData:
    """Rows of testbed families: ``n`` to train on, ``tested`` held-out ones to test on."""
    for name in families:
        family_named(name)  # refuses one that is not there
    count = GENERATED if n is None else n
    held = {row.id: row for row in rows("heldout", tested, 0, families)}
    asked = {row.prompt for row in held.values()}
    others = [row for row in rows("heldout", VALIDATED, 1, families) if row.prompt not in asked]
    trained = rows("train", count, 0, families)
    judged = all(is_right(row, row.response) is not None for row in held.values())

    def grade(chat: ChatRow, text: str) -> bool | None:
        return is_right(held[chat["id"]], text)

    return TuningData(
        name=PREFIX + ",".join(families),
        sha256=f"{PREFIX}{','.join(families)} train {count}",
        train=[row.as_chat() for row in trained],
        validation=[row.as_chat() for row in others],
        test=[row.as_chat() for row in held.values()],
        grade=grade if judged else None,
    )

"""What the tests of the exports verified, and the table in the documentation that is made of it.

A test calls ``record`` after its last assertion. ``make exports`` runs these tests with every
package that installs and writes ``docs/exports-table.md`` from what was recorded in that run; a
cell of the table that nothing was recorded for is an error, so the table cannot say more than was
verified. ``disagreements`` is what a plain run checks the table by.
"""

import ast
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from cruxlm.plans.exports.registry import TARGETS
from cruxlm.results.plan import ACTIONS

HERE = Path(__file__).parent
TABLE = HERE.parents[2] / "docs" / "exports-table.md"
HEAD = "| tool | action | | verified by | models | tests |"
NOTE = "<!-- Written by `make exports` from what the tests in tests/plans/exports verified. -->"


class Evidence(NamedTuple):
    """One plan of one model that a target was shown to carry out exactly."""

    target: str
    action: str
    kind: str
    how: str
    test: str


class Row(NamedTuple):
    """One line of the table."""

    target: str
    action: str
    verdict: str
    how: str
    kinds: str
    tests: str


RECORDED: set[Evidence] = set()


def record(target: str, action: str, kind: str, how: str) -> None:
    """Note that a target does with a kind of model exactly what a plan says.

    Args:
        target: Its name in ``TARGETS``.
        action: The plan's action.
        kind: The model's kind, a name of ``plans.twelve.KINDS`` mostly.
        how: What showed it: ``trl 1.16.0`` where the tool's own package did, or ``its matching
            rule, restated (axolotl 0.19.0)``.
    """
    assert TARGETS.canonical(target) == target
    assert action in ACTIONS
    # "tests/plans/exports/test_peft.py::test_round_trip[llama-lora] (call)"
    path, _, rest = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0].partition("::")
    test = f"{Path(path).name}::{rest.partition('[')[0]}"
    RECORDED.add(Evidence(target, action, kind, how, test))


def rows(records: Iterable[Evidence]) -> list[Row]:
    """The table: every target and action, refused with its reason or exact with its evidence.

    Raises ``ValueError`` naming what no record is of, and records of what is refused.
    """
    held = list(records)
    found, missing = [], []
    for target in TARGETS.names():
        refusals = TARGETS.get(target).refusals
        for action in ACTIONS:
            own = [r for r in held if (r.target, r.action) == (target, action)]
            if action in refusals:
                if own:
                    missing.append(f"{target} to {action}: refused, yet recorded")
                found.append(Row(target, action, f"refused: {refusals[action]}", "", "", ""))
                continue
            if not own:
                missing.append(f"{target} to {action}: nothing verified it")
            columns = [sorted({getattr(r, name) for r in own}) for name in ("how", "kind", "test")]
            found.append(Row(target, action, "exact", *map(", ".join, columns)))
    if missing:
        raise ValueError("; ".join(missing))
    return found


def written(table: Iterable[Row]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([NOTE, "", HEAD, "|---|---|---|---|---|---|", *lines, ""])


def read(text: str) -> list[Row]:
    """What ``written`` wrote."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and line != HEAD]
    cells = [line.replace("\\|", "\0").strip("| ").split("|") for line in lines]
    padded = [[cell.strip().replace("\0", "|") for cell in row] for row in cells]
    return [Row(*row, *[""] * (len(Row._fields) - len(row))) for row in padded]


def disagreements(table: Collection[Row]) -> list[str]:
    """What a table says that the targets and the tests do not; empty when it is right.

    Every target and action must be in it once, refused in the target's own words or verified by
    tests that there are and that record what they verify.
    """
    wrong = []
    expected = [(target, action) for target in TARGETS.names() for action in ACTIONS]
    if [(row.target, row.action) for row in table] != expected:
        wrong.append("the table does not have every target and action, in their order")
    for row in table:
        where = f"{row.target} to {row.action}"
        if row.target not in TARGETS.names():
            wrong.append(f"{where}: there is no such target")
            continue
        reason = TARGETS.get(row.target).refusals.get(row.action)
        if row.verdict != ("exact" if reason is None else f"refused: {reason}"):
            wrong.append(f"{where}: {row.verdict}")
        elif reason is None:
            wrong += [f"{where}: {t}" for t in row.tests.split(", ") if t not in recording()]
    return wrong


def recording() -> set[str]:
    """Every test that calls ``record``, itself or through functions of its file."""
    found = set()
    for path in sorted(HERE.glob("test_*.py")):
        functions = {
            node.name: {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        reach = {"record"}
        while more := {name for name, used in functions.items() if used & reach} - reach:
            reach |= more
        found |= {f"{path.name}::{name}" for name in reach if name.startswith("test_")}
    return found

"""``pytest tests/plans/exports --write-exports-table``: the documentation's table of exports.

Tools that want different versions of the same package are tested in environments of their own, so
a run can leave what it verified in a file, for a later one that writes the table.
"""

import json
from pathlib import Path

import pytest

from plans.exports import evidence


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exports-evidence", type=Path, help="file that what was verified is kept in")
    parser.addoption(
        "--write-exports-table",
        action="store_true",
        help="write docs/exports-table.md from what this run and that file verified (-n 0)",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    # The options are there only where this folder was named on the command line.
    file = session.config.getoption("--exports-evidence", default=None)
    write = session.config.getoption("--write-exports-table", default=False)
    if (file or write) and session.testsfailed:
        pytest.exit("nothing is recorded: not everything passed", returncode=1)
    records = set(evidence.RECORDED)
    if file:
        if file.is_file():
            records |= {evidence.Evidence(*held) for held in json.loads(file.read_text("utf-8"))}
        file.write_text(json.dumps(sorted(records), indent=1) + "\n", "utf-8")
    if not write:
        return
    try:
        table = evidence.written(evidence.rows(records))
    except ValueError as error:
        pytest.exit(f"the table is not written: {error}", returncode=1)
    evidence.TABLE.write_text(table, "utf-8")

"""The documentation's table of exports says what the tests verified, and nothing else."""

import pytest

from cruxlm.plans.exports.registry import TARGETS
from cruxlm.results.plan import ACTIONS
from plans.exports import evidence
from plans.exports.evidence import Evidence, Row, disagreements, read, rows, written


def everything():
    """Evidence for all that no target refuses, by this file's own tests."""
    return [
        Evidence(target, action, kind, "a | b", "test_table.py::test_that_records")
        for target in TARGETS.names()
        for action in ACTIONS
        for kind in ("llama", "gpt2")
        if action not in TARGETS.get(target).refusals
    ]


def test_the_table_in_the_documentation(request):
    if request.config.getoption("--write-exports-table", default=False):
        pytest.skip("this run writes it")
    text = evidence.TABLE.read_text("utf-8")
    assert disagreements(read(text)) == []
    assert written(read(text)) == text


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(evidence, "recording", lambda: {"test_table.py::test_that_records"})


def test_a_table_is_read_as_it_was_written(recorded):
    table = rows(everything())
    assert read(written(table)) == table
    assert disagreements(table) == []
    refused = [row for row in table if row.verdict != "exact"]
    assert refused
    assert all(row.verdict.startswith("refused: ") and not row.kinds for row in refused)
    exact = next(row for row in table if row.verdict == "exact")
    assert exact[3:] == ("a | b", "gpt2, llama", "test_table.py::test_that_records")


def test_what_nothing_verified_is_not_written():
    held = everything()
    gone = (held[0].target, held[0].action)
    with pytest.raises(ValueError, match=f"{gone[0]} to {gone[1]}: nothing verified it"):
        rows(r for r in held if r[:2] != gone)
    with pytest.raises(ValueError, match="peft to drop: refused, yet recorded"):
        rows([*held, Evidence("peft", "drop", "llama", "peft", "test_peft.py::test_x")])


def test_a_table_that_says_too_much_is_found(recorded):
    table = rows(everything())
    place = next(i for i, row in enumerate(table) if row.verdict.startswith("refused"))
    claimed = table[place]._replace(verdict="exact")
    assert disagreements([*table[:place], claimed, *table[place + 1 :]])
    place = next(i for i, row in enumerate(table) if row.verdict == "exact")
    forged = table[place]._replace(tests="test_table.py::test_that_is_not_there")
    assert disagreements([*table[:place], forged, *table[place + 1 :]])
    assert disagreements([*table, Row("abacus", "train", "exact", "", "", "")])
    assert disagreements(table[1:])


def test_tests_that_record_are_found():
    found = evidence.recording()
    assert "test_peft.py::test_exactly_the_planned_parameters" in found
    assert not any(name.startswith("test_table.py") for name in found)

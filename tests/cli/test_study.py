"""``crux study``: what it prints, what it writes, how it refuses."""

import json

import pytest

from cruxlm.cli.main import run
from cruxlm.cli.study import duration
from cruxlm.studies import STUDIES
from studies.tiny_study import TINY, draw, with_run


@pytest.fixture
def crux(capfd, monkeypatch, tmp_path):
    """Runs a command with the tiny study for the registered one, in a folder of its own."""
    monkeypatch.setattr(STUDIES, "_builtin", {"tiny": "studies.tiny_study:TINY"})
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        capfd.readouterr()
        assert run(["study", *arguments]) == code
        said, error = capfd.readouterr()
        assert bool(error) == bool(code)
        return error if code else said

    return call


def test_studies_are_listed_with_their_cost(crux):
    assert crux("list").splitlines()[1].split(maxsplit=4) == [
        "tiny",
        "6",
        "24",
        "s",
        "What are means?",
    ]


def test_a_study_runs_and_goes_on(crux, tmp_path):
    said = crux("run", "tiny", "--cells", "draw-[0-3]")
    assert "4 cells run, 0 kept" in said
    assert "2 cells are missing, so there is no page yet" in said
    said = crux("run", "tiny")
    assert "2 cells run, 4 kept" in said
    assert "The largest mean is 0.1290." in said
    assert "page: studies/tiny/README.md, studies/tiny/report.html" in said
    assert (tmp_path / "studies" / "tiny" / "report.html").exists()


def test_the_cost_is_said_and_nothing_is_done(crux, tmp_path):
    for option in ("--cost", "--dry-run"):
        lines = crux("run", "tiny", option).splitlines()
        assert lines[1].split() == ["draw-0", "2", "s"]
        assert lines[-1].split() == ["left", "24", "s"]
    assert list(tmp_path.iterdir()) == []
    crux("run", "tiny", "--cells", "draw-5")
    assert crux("run", "tiny", "--cost").splitlines()[-1].split() == ["left", "18", "s"]
    record = json.loads(crux("run", "tiny", "--cost", "--json"))
    assert record["done"] == ["draw-5"]
    assert record["left_seconds"] == 17.5


def test_json_is_all_that_is_printed(crux, tmp_path):
    found = json.loads(crux("run", "tiny", "--json", "--out", str(tmp_path / "out")))
    assert found["made"] == [f"draw-{seed}" for seed in range(6)]
    assert found["cells"]["draw-1"]["mean"] == draw(50, 1)["mean"]
    assert found["finding"].startswith("The largest mean")
    assert (tmp_path / "out" / "README.md").exists()


def test_check_compares(crux, monkeypatch):
    crux("run", "tiny")
    assert "6 of 6 cells run again: the same numbers" in crux("run", "tiny", "--check")
    assert json.loads(crux("run", "tiny", "--check", "--json", "--cells", "draw-1")) == {
        "study": "tiny",
        "same": ["draw-1"],
    }
    monkeypatch.setattr(
        "studies.tiny_study.TINY", with_run(lambda count, seed: draw(count, seed + 1))
    )
    said = crux("run", "tiny", "--check", "--workers", "1", code=2)
    assert said.startswith("crux: 6 of 6 cells are not what they are when run again (draw-0: mean")


def test_kept_cells_of_other_code_are_told(crux, tmp_path):
    crux("run", "tiny")
    cell = tmp_path / "studies" / "tiny" / "cells" / "draw-0.json"
    now = TINY.code_hashes(TINY.cells[0])["cruxlm.studies.study"]
    cell.write_text(cell.read_text().replace(now, "0" * 16))
    assert "! 1 kept cells were made by other code: --check runs them again" in crux("run", "tiny")


def test_refusals_are_one_line(crux, tmp_path):
    assert "there is no study 'tyni': did you mean 'tiny'" in crux("run", "tyni", code=2)
    assert "no cell of tiny matches 'x'" in crux("run", "tiny", "--cells", "x", code=2)
    assert "workers must be 1 or more, not 0" in crux("run", "tiny", "--workers", "0", code=2)
    assert "has no cell draw-0 to check (6 of 6" in crux("run", "tiny", "--check", code=2)
    (tmp_path / "file").write_text("")
    said = crux("run", "tiny", "--out", "file", code=2)
    assert "is not a folder" in said
    assert said.count("\n") == 1


def test_durations():
    assert [duration(s) for s in (0.4, 90, 600, 5400, 14400)] == [
        "0 s", "90 s", "10 min", "90 min", "4.0 h",
    ]  # fmt: skip

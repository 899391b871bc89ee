"""Cells in several processes, and over Ray: the same cells, none lost, and no process left."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from cruxlm.runtime.errors import MissingExtraError, ModelError, OptionError, OutputError
from cruxlm.studies.run import check_study, run_study
from cruxlm.studies.stored import stored_cells
from studies.tiny_study import TINY
from studies.worked_study import parent_of_forever, study_of


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def test_two_workers_find_what_one_does(tmp_path):
    one, two = run_study(TINY, tmp_path / "one"), run_study(TINY, tmp_path / "two", workers=2)
    assert two.made == one.made
    for name, cell in one.cells.items():
        assert two.cells[name].result == cell.result
        assert two.cells[name].versions == cell.versions
    for name in ("README.md", "means.svg", "report.html"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert check_study(TINY, tmp_path / "two", workers=2) == one.made


def test_cells_run_side_by_side_each_on_one_thread(tmp_path, marks):
    """Each of the first two waits for the other to have begun."""
    found = run_study(study_of(2, marks=str(marks)), tmp_path / "out", workers=2)
    results = [cell.result for cell in found.cells.values()]
    assert len({r["process"] for r in results} - {os.getpid()}) == 2
    assert {r["threads"] for r in results} == {1}


def test_here_too_a_cell_has_one_thread(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = run_study(study_of(2), tmp_path / "out")
        assert {c.result["threads"] for c in found.cells.values()} == {1}
        assert {c.result["process"] for c in found.cells.values()} == {os.getpid()}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_is_told_and_what_ran_beside_it_is_kept(tmp_path, marks):
    """The first fails while the second runs; of six, some are never begun."""
    study = study_of(30, marks=str(marks), fails=[0])
    with pytest.raises(ModelError, match="no model for 0"):
        run_study(study, tmp_path / "out", workers=2)
    kept = stored_cells(study, tmp_path / "out")
    assert "c-1" in kept
    assert len(kept) < 29


def test_a_killed_worker_is_one_line_and_the_rest_is_kept(tmp_path):
    study = study_of(4, killed=[3])
    with pytest.raises(OutputError, match=r"a worker was killed.*fewer --workers"):
        run_study(study, tmp_path / "out", workers=2)
    assert "c-3" not in stored_cells(study, tmp_path / "out")


@pytest.mark.skipif(not os.path.exists("/proc"), reason="processes are looked up in /proc")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(marks, kind):
    parent = parent_of_forever(marks)
    try:
        wait_for(lambda: len(list(marks.iterdir())) == 2)
        workers = [int(path.name.rpartition("-")[2]) for path in marks.iterdir()]
        assert all(map(alive, workers))
        parent.send_signal(kind)
        parent.wait(60)
        wait_for(lambda: not any(map(alive, workers)))
    finally:
        parent.kill()
        parent.communicate()


def alive(process):
    """Whether a process runs; one that nobody has waited for is not alive."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    limit = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.05)


@pytest.fixture
def ray():
    """A Ray on this machine that finds the modules of the tests."""
    ray = pytest.importorskip("ray")
    found = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}}
    ray.init(num_cpus=2, runtime_env=found, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_ray_finds_the_same(ray, tmp_path):
    here = run_study(TINY, tmp_path / "here")
    over = run_study(TINY, tmp_path / "over", ray=True)
    for name, cell in here.cells.items():
        assert over.cells[name].result == cell.result
    (cell,) = run_study(study_of(1), tmp_path / "one", ray=True).cells.values()
    assert cell.result["threads"] == 1
    assert cell.result["process"] != os.getpid()
    study = study_of(3, fails=[1])
    with pytest.raises(ModelError, match="no model for 1"):
        run_study(study, tmp_path / "fails", ray=True)
    assert "c-0" in stored_cells(study, tmp_path / "fails")
    assert ray.is_initialized()  # it was not the study's to end


def test_without_ray_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="cruxlm\\[ray\\]"):
        run_study(TINY, tmp_path, ray=True)


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_a_worker_at_least(tmp_path, workers):
    with pytest.raises(OptionError, match="workers must be 1 or more"):
        run_study(TINY, tmp_path, workers=workers)

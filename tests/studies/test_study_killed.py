"""A study that is killed again and again ends with the files it would have ended with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
KILLS = 48


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What became of the kills; the script itself compares the files after every run."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("killed_study.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(KILLS), "5"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_killed_study_ends_with_the_same_bytes(told):
    assert sum(told["kills"].values()) >= KILLS
    assert told["runs"] >= 4
    cells = {f"cells/draw-{seed}.json" for seed in range(6)}
    assert set(told["files"]) == {*cells, "README.md", "means.svg", "report.html"}


def test_the_kills_came_at_every_kind_of_moment(told):
    """In a cell, half-way through a file, before a file is opened, renamed or removed."""
    assert all(told["kills"].get(kind, 0) >= 3 for kind in ("step", "half", "write", "rename"))
    assert len(set(told["kept"])) >= 5  # some runs had lost everything, some nothing
    assert told["litter"] >= 5  # half-written files were there to be swept

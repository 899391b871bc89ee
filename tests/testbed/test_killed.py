"""A training that is killed again and again ends with the files it would have ended with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 24


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What became of the kills; the script itself compares the files after every run."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(KILLS), "5"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_killed_training_ends_with_the_same_bytes(told):
    assert sum(told["kills"].values()) >= 20
    assert told["runs"] >= 4
    # Weights, card, figures and curves; of the model and of its snapshots.
    assert {"model.safetensors", "curves.json", "step-1/model.safetensors"} <= set(told["files"])
    assert not any(".part" in name or name.startswith("run") for name in told["files"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_kills_came_at_every_kind_of_moment(told):
    """In a step, half-way through a file of tensors, before a file is opened, renamed, removed."""
    assert all(told["kills"][kind] >= 3 for kind in ("step", "half", "write", "rename", "remove"))
    # Checkpoints are at 3, 6, 9 and 12: some trainings lost everything, some nothing.
    assert set(told["kept"]) <= {0, 3, 6, 9, 12}
    assert len(set(told["kept"])) >= 4

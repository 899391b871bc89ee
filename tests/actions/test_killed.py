"""A tuning that is killed again and again ends with the files it would have ended with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What became of the kills; the script itself compares the files after every run."""
    folder = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), "5"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_killed_tuning_ends_with_the_same_bytes(told):
    """Weights or adapters, card, plan and result, by every method."""
    assert told.keys() == {"full", "lora", "lisa", "early"}
    assert sum(sum(own["kills"].values()) for own in told.values()) >= 20
    for method, own in told.items():
        weights = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
        assert {weights, "tuning.json", "plan.json", "README.md"} <= set(own["files"])
        assert not any(".part" in name or name.startswith("run") for name in own["files"])


def test_the_kills_came_at_every_kind_of_moment(told):
    """In a step, half-way through a file of tensors, before a file is opened, renamed, removed."""
    for kind in ("step", "half", "write", "rename", "remove"):
        assert sum(own["kills"].get(kind, 0) for own in told.values()) >= 3
    # Checkpoints are at 2, 4, 6 and 8: some trainings lost everything, some nothing.
    kept = [step for own in told.values() for step in own["kept"]]
    assert set(kept) <= {0, 2, 4, 6, 8}
    assert len(set(kept)) >= 4


def test_one_of_them_ended_early(told):
    assert told["full"]["steps"] == list(range(8))
    assert told["early"]["steps"] == list(range(4))

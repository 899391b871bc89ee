"""Cells for `test_workers`: functions of a module, as other processes need them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from cruxlm.runtime.errors import ModelError
from cruxlm.studies.run import run_study
from cruxlm.studies.study import Cell, Study
from studies.tiny_study import tiny_page

STARTED = "started"


def worked(seed, marks="", fails=(), killed=()):
    """Its process and threads; with ``marks`` it waits there until another cell has begun."""
    if marks:
        Path(marks, f"{STARTED}-{seed}-{os.getpid()}").touch()
        limit = time.monotonic() + 60
        while len(list(Path(marks).iterdir())) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
    if seed in fails:
        raise ModelError(f"no model for {seed}")
    if seed in killed:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"mean": seed, "process": os.getpid(), "threads": torch.get_num_threads()}


def forever(marks):
    """Says that it runs, and never ends."""
    Path(marks, f"{STARTED}-{os.getpid()}").touch()
    while True:
        time.sleep(0.1)


def study_of(count, run=worked, **options):
    cells = tuple(Cell(f"c-{seed}", {"seed": seed, **options}, 1.0, run) for seed in range(count))
    return Study("worked", "Do workers work?", cells, tiny_page, ())


def parent_of_forever(marks):
    """A process whose two workers never end."""
    return subprocess.Popen(
        [sys.executable, __file__, str(marks)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.PIPE,
    )


if __name__ == "__main__":
    from studies import worked_study  # under the name that its workers import it by

    # What a shell starts in the background is deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cells = tuple(
        Cell(f"c-{n}", {"marks": sys.argv[1]}, 1.0, worked_study.forever) for n in range(3)
    )
    run_study(Study("worked", "Do workers end?", cells, tiny_page, ()),
              Path(sys.argv[1]).with_name("out"), workers=2)  # fmt: skip

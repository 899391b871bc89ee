"""Runs a small study many times over and kills it, for `test_study_killed`. Run as a script.

python killed_study.py FOLDER KILLS SEED
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from cruxlm.studies.run import run_study
from kills import Kill
from studies.tiny_study import CELLS, TINY, draw, with_run

KINDS = ("step", "half", "write", "rename", "remove", "any")
"""Moments: in a cell, half-way through a file, before a file is opened, renamed, removed."""


def leg(folder, log, kind=None, number=0):
    """One run of the study in a fork: whether it came to its end, and what it met."""
    report = log.with_name("report.json")
    child = os.fork()
    if child == 0:
        kill = Kill(folder, kind, number)
        sync = os.fsync

        def fsync(file):
            sync(file)
            if kill._reached("half"):
                os.ftruncate(file, os.fstat(file).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        def run(count, seed):
            with log.open("a") as file:
                file.write(f"draw-{seed}\n")
            kill._at("step")
            return draw(count, seed)

        run.__module__ = draw.__module__  # the code is the same
        try:
            os.fsync = fsync
            sys.addaudithook(kill._audit)
            run_study(with_run(run), folder)
            report.write_text(json.dumps(kill.seen))
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"a study ended with {status}"
    return status == 0, json.loads(report.read_text()) if status == 0 else None


def contents(folder):
    """Every file's bytes, hidden ones too, but for what differs between equal runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".json" and not path.name.startswith("."):
                record = json.loads(data)
                record.pop("run")
                data = json.dumps(record).encode()
            found[path.relative_to(folder).as_posix()] = data
    return found


def there(folder):
    return sorted(path.stem for path in folder.glob("cells/[!.]*.json"))


def main(folder, kills, seed):
    random, log = Random(seed), folder / "log.txt"
    done, seen = leg(folder / "whole", log)
    assert done
    run_study(TINY, folder / "plain")
    whole = contents(folder / "whole")
    assert contents(folder / "plain") == whole
    happened, kept, litter, runs = Counter(), [], 0, 0
    while sum(happened.values()) < kills:
        runs += 1
        out = folder / f"run-{runs}"
        while True:
            kind = KINDS[sum(happened.values()) % len(KINDS)]
            before = there(out)
            log.write_text("")
            done, _ = leg(out, log, kind, random.randint(1, max(1, 2 * seen.get(kind, 0) // 3)))
            started, now = log.read_text().split(), there(out)
            assert set(before) <= set(now), "a cell was lost"
            left = [cell.name for cell in CELLS if cell.name not in before]
            assert started == left[: len(started)], "a cell was run again, or left out"
            if done:
                break
            happened[kind] += 1
            kept.append(len(now))
            litter += any(path.name.startswith(".") for path in out.rglob("*"))
        assert contents(out) == whole
    told = {"kills": happened, "runs": runs, "kept": kept, "litter": litter, "files": list(whole)}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]))

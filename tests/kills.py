"""Trainings in forks that kill themselves with SIGKILL at a chosen moment, again and again."""

import gc
import json
import os
import signal
import sys
from collections import Counter

import torch

from cruxlm.runtime.checkpoints import SEAL, damage

KINDS = ("step", "half", "write", "rename", "remove", "any")
"""Moments to be killed at: before a step, half-way through a file of tensors, before a file is
opened for writing, renamed or removed; and the nth of all of them."""
CHANGES = {"os.rename": "rename", "os.remove": "remove", "os.rmdir": "remove"}


class Kill:
    """Counts the moments of a training that writes into a folder, and kills it at one of them."""

    def __init__(self, folder, kind=None, number=0):
        self.folder = str(folder)
        self.left = {kind: number} if kind else {}
        self.seen = Counter()
        self.steps = []

    def install(self, trainer):
        """Watch this process, in which a trainer of this class is to run."""
        loss = trainer.compute_loss

        def counted(own, *args, **kwargs):
            self.steps.append(own.state.global_step)
            self._at("step")
            return loss(own, *args, **kwargs)

        trainer.compute_loss = counted
        torch.save = self._halving(torch.save)
        for name in ("transformers.modeling_utils", "peft.peft_model"):
            if name in sys.modules:
                library = sys.modules[name]
                library.safe_save_file = self._halving(library.safe_save_file)
        sys.addaudithook(self._audit)

    def _reached(self, kind):
        self.seen[kind] += 1
        self.seen["any"] += 1
        for name in {kind, "any"} & set(self.left):
            self.left[name] -= 1
            if self.left[name] == 0:
                return True
        return False

    def _at(self, kind):
        if self._reached(kind):
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writes = (mode and set("wax+") & set(str(mode))) or (flags or 0) & os.O_CREAT
            if writes and str(path).startswith(self.folder):
                self._at("write")
        elif event in CHANGES and str(arguments[0]).startswith(self.folder):
            self._at(CHANGES[event])

    def _halving(self, save):
        """A function that writes a file, killed half-way when its moment has come."""

        def saved(what, path, *args, **kwargs):
            result = save(what, path, *args, **kwargs)
            if str(path).startswith(self.folder) and self._reached("half"):
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return saved


def leg(act, trainer, folder, kind=None, number=0):
    """One training in a fork: whether it came to its end, what it met, and the steps it took."""
    report = folder.parent / "report.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            kill = Kill(folder, kind, number)
            kill.install(trainer)
            act(folder)
            report.write_text(json.dumps([kill.seen, kill.steps]))
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"a training ended with {status}"
    return status == 0, json.loads(report.read_text()) if status == 0 else None


def sound(folder):
    """The last step with a whole checkpoint."""
    found = [0]
    for path in folder.glob("run/checkpoints/checkpoint-*"):
        if (path / SEAL).exists() and damage(path) is None:
            found.append(int(path.name.split("-")[1]))
    return max(found)


def endure(act, trainer, root, kills, random, *, steps, finished, contents):
    """Kill a training until it has been killed so often, and compare every end with the unbroken.

    ``act(folder)`` trains; ``finished`` is the file that is there when it is done; ``contents``
    gives what is compared of a folder. Returns what became of the kills.
    """
    torch.set_num_threads(1)
    gc.freeze()  # half of a tiny training is the collection of garbage at its end
    done, (seen, taken) = leg(act, trainer, root / "whole")
    assert done
    whole = contents(root / "whole")
    happened, kept, runs = Counter(), [], 0

    def reached(folder):
        return steps if (folder / finished).exists() else sound(folder)

    while sum(happened.values()) < kills:
        runs += 1
        out = root / f"run-{runs}"
        while True:
            kind = KINDS[sum(happened.values()) % len(KINDS)]
            # Of the moments of a whole training; when fewer are left, the run ends with this leg.
            number = random.randint(1, max(1, 2 * seen[kind] // 3))
            before = reached(out)
            done, _ = leg(act, trainer, out, kind, number)
            assert reached(out) >= before, "a checkpoint was lost"
            if done:
                break
            kept.append(reached(out))
            happened[kind] += 1
        found = contents(out)
        assert found.keys() == whole.keys()
        different = [name for name, data in found.items() if data != whole[name]]
        assert not different, different
    return {
        "kills": happened, "runs": runs, "kept": kept, "files": sorted(whole), "steps": taken,
    }  # fmt: skip

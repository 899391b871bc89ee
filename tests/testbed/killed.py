"""Trains a tiny model many times over and kills it, for `test_killed`. Run as a script.

    python killed.py FOLDER KILLS SEED

Each training is a fork that kills itself with SIGKILL at a chosen moment: before a step, before a
file is opened for writing, renamed or removed, or half-way through a file of tensors. It is then
started again over what it left, and killed again, until it is done.
"""

import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random

import torch
import transformers.modeling_utils
import yaml

from cruxlm.models.load import quiet_transformers
from cruxlm.testbed import train as training
from cruxlm.testbed.card import Figures
from cruxlm.testbed.checkpoints import SEAL, damage
from cruxlm.testbed.tokenizer import train_tokenizer
from cruxlm.workflows import testbed

STEPS = 12
RECIPE = {
    "blocks": 2, "width": 16, "heads": 2, "ffn": 32, "batch": 2, "tokens": STEPS * 2 * 128,
    "warmup": 1, "bf16": False, "compiled": False, "snapshots": 3,
}  # fmt: skip
KINDS = ("step", "half", "write", "rename", "remove", "any")
CHANGES = {"os.rename": "rename", "os.remove": "remove", "os.rmdir": "remove"}


class Moments:
    """Counts the moments of a training, and ends it at the chosen one."""

    def __init__(self, folder, kind, number):
        self.folder = str(folder)
        self.left = {kind: number} if kind else {}
        self.seen = Counter()

    def reached(self, kind):
        self.seen[kind] += 1
        self.seen["any"] += 1
        for name in {kind, "any"} & set(self.left):
            self.left[name] -= 1
            if self.left[name] == 0:
                return True
        return False

    def __call__(self, kind):
        if self.reached(kind):
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writes = (mode and set("wax+") & set(str(mode))) or (flags or 0) & os.O_CREAT
            if writes and str(path).startswith(self.folder):
                self("write")
        elif event in CHANGES and str(arguments[0]).startswith(self.folder):
            self(CHANGES[event])

    def halving(self, save):
        """A function that writes a file, killed half-way when its moment has come."""

        def saved(what, path, *args, **kwargs):
            result = save(what, path, *args, **kwargs)
            if str(path).startswith(self.folder) and self.reached("half"):
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return saved

    def install(self):
        loss = training.TestbedTrainer.compute_loss

        def counted(trainer, *args, **kwargs):
            began.append(trainer.state.global_step)
            self("step")
            return loss(trainer, *args, **kwargs)

        began = []
        training.TestbedTrainer.compute_loss = counted
        torch.save = self.halving(torch.save)
        library = transformers.modeling_utils
        library.safe_save_file = self.halving(library.safe_save_file)
        sys.addaudithook(self.audit)
        return began


def leg(recipe, folder, kind=None, number=0):
    """One training in a fork: its exit status, what it met and the steps it took."""
    report = folder.parent / "report.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            moments = Moments(folder, kind, number)
            began = moments.install()
            with quiet_transformers():
                testbed.train_model(str(recipe), folder)
            report.write_text(json.dumps([moments.seen, began]))
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"a training ended with {status}"
    return status == 0, json.loads(report.read_text()) if status == 0 else None


def sound(folder):
    """The last step with a whole checkpoint; all of them when the model is there."""
    if (folder / "model.safetensors").exists():
        return STEPS
    found = [0]
    for path in folder.glob("run/checkpoints/checkpoint-*"):
        if (path / SEAL).exists() and damage(path) is None:
            found.append(int(path.name.split("-")[1]))
    return max(found)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def main(folder, kills, seed):
    torch.set_num_threads(1)
    random = Random(seed)
    tokenizer = train_tokenizer(n_rows=3000)
    testbed.train_tokenizer = lambda _vocabulary: tokenizer
    testbed.held_out = lambda *_args, **_kwargs: {"recall": Figures(1, 2.0, None, None, None, None)}
    testbed.losses = lambda model, *_args: {
        "sum": float(sum(p.detach().double().sum() for p in model.parameters()))
    }
    training.CHECKPOINTS = 4
    gc.freeze()  # half of a tiny training is the collection of garbage at its end
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    done, (seen, steps) = leg(recipe, folder / "whole")
    assert done
    assert steps == list(range(STEPS))
    whole = contents(folder / "whole")
    happened, kept, runs = Counter(), [], 0
    while sum(happened.values()) < kills:
        runs += 1
        out = folder / f"run-{runs}"
        while True:
            kind = KINDS[sum(happened.values()) % len(KINDS)]
            # Of the moments of a whole training; when fewer are left, the run ends with this leg.
            number = random.randint(1, max(1, 2 * seen[kind] // 3))
            before = sound(out)
            done, _ = leg(recipe, out, kind, number)
            assert sound(out) >= before, "a checkpoint was lost"
            if done:
                break
            kept.append(sound(out))
            happened[kind] += 1
        assert contents(out).keys() == whole.keys()
        different = [name for name, data in contents(out).items() if data != whole[name]]
        assert not different, different
    print(json.dumps({"kills": happened, "runs": runs, "kept": kept, "files": sorted(whole)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]))

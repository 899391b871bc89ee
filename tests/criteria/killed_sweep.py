"""Sweeps a tiny pair of models again and again and kills it, for `test_sweep`. Run as a script.

python killed_sweep.py FOLDER SEED
"""

import copy
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.substitution import SUBSTITUTION
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import load_model
from cruxlm.runtime.cache import Cache
from cruxlm.testbed.planted.delta import planted_delta

KILLS = 21
KINDS = ("evaluate", "write", "rename")


class Kill:
    """Counts moments of one kind, and kills this process at one of them."""

    def __init__(self, folder, kind, left):
        self.folder, self.kind, self.left = str(folder), kind, left
        sys.addaudithook(self.audit)

    def at(self, kind):
        if kind == self.kind:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event, arguments):
        if event == "open" and str(arguments[0]).startswith(self.folder):
            if set("wxa+") & set(str(arguments[1])):
                self.at("write")
        elif event == "os.rename" and str(arguments[0]).startswith(self.folder):
            self.at("rename")


class Watched(Loss):
    """The loss, at which a process may be killed."""

    kill = None

    def __call__(self, model, examples):
        if self.kill:
            self.kill.at("evaluate")
        return super().__call__(model, examples)


def main(folder, seed):
    torch.set_num_threads(1)
    plant = planted_delta(blocks=6)
    pairs = zip(plant.inputs[:16].tolist(), plant.targets[:16].tolist(), strict=True)
    examples = [Example(str(n), tuple(p), (t,)) for n, (p, t) in enumerate(pairs)]
    tuned, base = load_model(plant.tuned), load_model(copy.deepcopy(plant.base))

    def sweep(cache):
        subject = Subject(tuned, examples, Watched(), base, cache=cache)
        found = SUBSTITUTION.score(subject, **SUBSTITUTION.options("default"))
        return [found.values.tolist(), found.tensors["per_example"].tolist()]

    whole = sweep(None)
    random, kills, ends, different, run = Random(seed), Counter(), 0, 0, 0
    while sum(kills.values()) < KILLS:
        place, done = folder / f"cache-{ends}", False
        while not done:
            run += 1
            kind = KINDS[run % len(KINDS)]
            kept = len(list(place.glob("*/entry.json")))
            report = folder / f"report-{run}.json"
            child = os.fork()
            if child == 0:
                Watched.kill = Kill(place, kind, random.randint(1, 4))
                report.write_text(json.dumps(sweep(Cache(place))))
                os._exit(0)
            random.random()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status in (0, -signal.SIGKILL), status
            assert len(list(place.glob("*/entry.json"))) >= kept  # nothing is lost
            done = status == 0
            kills[kind] += not done
        ends += 1
        different += json.loads(report.read_text()) != whole
    print(json.dumps({"kills": kills, "ends": ends, "different": different}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))

"""Trains a tiny model many times over and kills it, for `test_killed`. Run as a script.

    python killed.py FOLDER KILLS SEED

Each training is a fork that kills itself with SIGKILL at a chosen moment: before a step, before a
file is opened for writing, renamed or removed, or half-way through a file of tensors. It is then
started again over what it left, and killed again, until it is done.
"""

import json
import sys
from pathlib import Path
from random import Random

import yaml

from cruxlm.models.load import quiet_transformers
from cruxlm.testbed import train as training
from cruxlm.testbed.card import Figures
from cruxlm.testbed.tokenizer import train_tokenizer
from cruxlm.workflows import testbed

sys.path.insert(0, str(Path(__file__).parents[1]))
from kills import endure

STEPS = 12
RECIPE = {
    "blocks": 2, "width": 16, "heads": 2, "ffn": 32, "batch": 2, "tokens": STEPS * 2 * 128,
    "warmup": 1, "bf16": False, "compiled": False, "snapshots": 3,
}  # fmt: skip


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def main(folder, kills, seed):
    tokenizer = train_tokenizer(n_rows=3000)
    testbed.train_tokenizer = lambda _vocabulary: tokenizer
    testbed.held_out = lambda *_args, **_kwargs: {"recall": Figures(1, 2.0, None, None, None, None)}
    testbed.losses = lambda model, *_args: {
        "sum": float(sum(p.detach().double().sum() for p in model.parameters()))
    }
    training.CHECKPOINTS = 4
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))

    def train(out):
        with quiet_transformers():
            testbed.train_model(str(recipe), out)

    told = endure(
        train, training.TestbedTrainer, folder, kills, Random(seed),
        steps=STEPS, finished="model.safetensors", contents=contents,
    )  # fmt: skip
    assert told["steps"] == list(range(STEPS))
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]))

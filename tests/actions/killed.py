"""Tunes a tiny model many times over and kills it, for `test_killed`. Run as a script.

python killed.py FOLDER SEED
"""

import json
import sys
from pathlib import Path
from random import Random

import peft.peft_model  # noqa: F401 (its way to save is watched)

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import byte_tokenizer, tiny_llama
from cruxlm.actions.trainer import BlockTrainer
from cruxlm.models.load import load_model
from cruxlm.workflows.tune import tune
from kills import endure

STEPS = 8
EARLY = {"patience": 1, "learning_rate": 1.0, "schedule": "constant"}
METHODS = {
    "full": (8, {}),
    "lora": (4, {"method": "lora", "r": 2}),
    "lisa": (4, {"method": "lisa", "blocks": "all", "lisa_blocks": 1, "lisa_every": 3}),
    "early": (5, EARLY),
}
"""How often each is killed, and its options."""


def write_rows(path, count=30):
    rows = [
        {
            "prompt": f"say {'abc'[i % 3] * (i % 5)} {i}",
            "response": ["no", "yes", "maybe"][i % 3] * 2,
        }
        for i in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))


def contents(folder):
    """Every file's bytes, but for what differs between equal runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "tuning.json":
                record = json.loads(data)
                record.pop("run")
                data = json.dumps(record).encode()
            found[path.relative_to(folder).as_posix()] = data
    return found


def main(folder, seed):
    data = folder / "rows.jsonl"
    write_rows(data)
    model = load_model(tiny_llama(blocks=2, width=8), tokenizer=byte_tokenizer(chat=True))
    random, told = Random(seed), {}
    for method, (kills, options) in METHODS.items():
        given = {"blocks": "1", "parts": ("norm",), "steps": STEPS, "batch": 2, "checks": 4}
        given |= options

        def act(out, given=given):
            tune(model, data=str(data), out=out, **given)

        root = folder / method
        root.mkdir()
        told[method] = endure(
            act, BlockTrainer, root, kills, random, steps=STEPS, finished="tuning.json",
            contents=contents,
        )  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))

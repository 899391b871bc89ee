"""Keep the first m blocks, train them on a few labelled rows, and compare with the full model.

The experiment of Yuan et al. 2024 (*Why Lift so Heavy?*, arXiv:2402.11700) in its shape, on a
model that runs anywhere. For every m the blocks above are dropped; norm and head stay as they are.
What is left is trained on the same rows as the full model, and answers the same test rows. Two
baselines say what that means: the cut model before training, and a linear probe on the states that
its last block hands on.

    python examples/keep_the_first.py --out kept/
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cruxlm as crux
from cruxlm.data.chat import encode_chat
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch, evaluation_mode
from cruxlm.results.tuning import ACCURACY, Tuning
from cruxlm.testbed.home import resolve
from cruxlm.workflows.drop import drop
from cruxlm.workflows.tuning_data import tuning_data

PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Of the linear probe; one is chosen by leaving out one training row after another."""


def last_states(model: LoadedModel, rows: Sequence[Any]) -> Tensor:
    """The states of the last block at the last token of each prompt, as (rows, width)."""
    seen: list[Tensor] = []
    tower = model.blocks.tower
    with Patch() as patch, evaluation_mode(tower), torch.no_grad():
        patch.watch_output(model.blocks.modules[-1], lambda states: seen.append(states[0, -1]))
        for row in rows:
            chat = encode_chat(model.tokenizer, row["messages"])
            tower(input_ids=torch.tensor([chat.tokens[: chat.response[0]]]), use_cache=False)
    return torch.stack(seen).double()


def probe_accuracy(train: Tensor, labels: list[str], test: Tensor, right: list[str]) -> float:
    """Share of the test rows that ridge regression on one number for each label gets right."""
    names = sorted(set(labels))
    targets = torch.tensor([[float(label == name) for name in names] for label in labels])
    mean, spread = train.mean(0), train.std(0).clamp_min(1e-9)
    x, y = ((held - mean) / spread for held in (train, test))
    gram, wanted = x @ x.T, targets.double() - targets.double().mean(0)
    identity = torch.eye(len(x), dtype=x.dtype)

    def left_out(penalty: float) -> float:
        hat = gram @ torch.linalg.inv(gram + penalty * len(x) * identity)
        apart = (wanted - hat @ wanted) / (1 - hat.diagonal()).clamp_min(1e-9)[:, None]
        return float(apart.square().sum())

    best = min(PENALTIES, key=left_out)
    scores = y @ x.T @ torch.linalg.solve(gram + best * len(x) * identity, wanted)
    given = [names[int(place)] for place in scores.argmax(1)]
    return sum(one == two for one, two in zip(given, right, strict=True)) / len(right)


def trained(model: str, task: str, wished: argparse.Namespace, folder: Path) -> list[Tuning]:
    """A model trained on the task with each seed, at the rate of the lowest validation loss."""

    def run(rate: float, seed: int) -> Tuning:
        return crux.tune(
            model, data=f"testbed:{task}", n=wished.n, blocks="all", steps=wished.steps, checks=1,
            learning_rate=rate, seed=seed, out=folder / f"{rate:g}-{seed}",
        )  # fmt: skip

    first = {rate: run(rate, 0) for rate in wished.rates}
    best = min(wished.rates, key=lambda rate: first[rate].validation)
    return [first[best], *(run(best, seed) for seed in range(1, wished.seeds))]


def measured(task: str, m: int, wished: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One line of the table: a model of m blocks on a task."""
    whole = crux.load_model(resolve(wished.model))
    model = wished.model
    if m < len(whole.blocks.modules):
        model = str(folder / "cut")
        drop(wished.model, blocks=f"first:{m}", complement=True, out=model)
    loaded = crux.load_model(resolve(model))
    rows = tuning_data(f"testbed:{task}", n=wished.n, test=None)
    train, test = (last_states(loaded, held) for held in (rows.train, rows.test))
    labels, right = ([str(row["answer"]) for row in held] for held in (rows.train, rows.test))
    runs = trained(model, task, wished, folder)
    after = torch.tensor([run.after[ACCURACY].mean("sample") for run in runs])
    return {
        "task": task,
        "m": m,
        "parameters": sum(p.numel() for p in loaded.module.parameters()),
        "before": runs[0].before[ACCURACY].mean("sample"),
        "after": after.mean().item(),
        "spread": (after.max() - after.min()).item(),
        "rows_error": math.sqrt(after.mean() * (1 - after.mean()) / len(right)),
        "probe": probe_accuracy(train, labels, test, right),
        "rate": runs[0].settings["learning_rate"],
        "test_rows": len(right),
    }


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run the grid and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="testbed:base-0")
    parser.add_argument("--tasks", default="topic,sentiment", type=lambda text: text.split(","))
    numbers = lambda kind: lambda text: [kind(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--keep", default="1,2,4,8,24", type=numbers(int))
    parser.add_argument("--rates", default="1e-4,3e-4,1e-3", type=numbers(float))
    parser.add_argument("--n", default=32, type=int, help="labelled rows")
    parser.add_argument("--steps", default=60, type=int)
    parser.add_argument("--seeds", default=2, type=int, help="orders of the rows")
    parser.add_argument("--out", default="kept", type=Path)
    wished = parser.parse_args(arguments)
    wished.out.mkdir(parents=True, exist_ok=True)
    lines = []
    print("| task | blocks kept | parameters | cut | trained | probe on the state | rate |")
    print("|--|--:|--:|--:|--:|--:|--:|")
    for task in wished.tasks:
        for m in wished.keep:
            with tempfile.TemporaryDirectory() as folder:
                line = measured(task, m, wished, Path(folder))
            lines.append(line)
            print(
                "| {task} | {m} | {parameters:,} | {before:.1%} | {after:.1%} ± {rows_error:.1%} "
                "| {probe:.1%} | {rate:g} |".format(**line),
                flush=True,
            )
    (wished.out / "table.json").write_text(json.dumps(lines, indent=1) + "\n")
    return lines


if __name__ == "__main__":
    main()

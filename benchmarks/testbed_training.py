"""Tokens a second of testbed training against a bare loop over the same model and batches.

    python benchmarks/testbed_training.py [--rounds 5] [--steps 12] [--eager]

The bare loop has what training needs and nothing else: forward, weighted loss, backward, clipping,
AdamW. Both go over the same packed batches, in turn and in one process; compiling and the first
steps are left out of both. The Trainer's side also collates, schedules, logs and moves the bar.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from paired import machine
from transformers import TrainerCallback

from cruxlm.data.packing import PackCollator, Packs
from cruxlm.models.load import quiet_transformers
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.language import rows
from cruxlm.testbed.recipe import load_recipe
from cruxlm.testbed.tokenizer import encode, train_tokenizer
from cruxlm.testbed.train import train

WARM = 4
"""Steps before the clock starts."""


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def bare(recipe, tokenizer, written) -> float:
    """Seconds a step of the bare loop."""
    model = new_model(recipe, tokenizer)
    model.set_attn_implementation("eager")
    packs = Packs((encode(row, tokenizer) for row in written), recipe.context)
    collate = PackCollator(recipe.prompt_weight)
    batches = [
        collate([packs[i * recipe.batch + j] for j in range(recipe.batch)])
        for i in range(recipe.steps)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate)
    forward = torch.compile(model) if recipe.compiled else model
    ends = []
    for batch in batches:
        weights = batch["loss_weights"][:, 1:].flatten()
        given = {k: batch[k] for k in ("input_ids", "position_ids", "attention_mask")}
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            logits = forward(**given, use_cache=False).logits[:, :-1].flatten(0, 1)
        labels = batch["labels"][:, 1:].flatten()
        losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
        ((losses * weights).sum() / weights.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return (ends[-1] - ends[WARM - 1]) / (len(ends) - WARM)


def trained(recipe, tokenizer, written) -> float:
    """Seconds a step of the testbed's training, without its checkpoints."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        model = new_model(recipe, tokenizer)
        import cruxlm.testbed.train as module

        module.CHECKPOINTS = 1
        train(recipe, model, tokenizer, Path(folder), written=written, callbacks=[clock])
    ends = clock.ends[:-1]  # the last step ends after the checkpoint
    return (ends[-1] - ends[WARM - 1]) / (len(ends) - WARM)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--eager", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe("base-0")
    tokens = recipe.batch * recipe.context
    recipe = replace(
        recipe, tokens=given.steps * tokens, compiled=not given.eager, snapshots=0, curriculum=0
    )
    tokenizer = train_tokenizer(recipe.vocabulary)
    written = rows("train", 200 * given.steps)
    ratios = []
    for number in range(given.rounds):
        ways = (("trained", trained), ("bare", bare))[:: 1 if number % 2 else -1]
        times = {name: way(recipe, tokenizer, written) for name, way in ways}
        ratios.append(times["bare"] / times["trained"])
        print({name: f"{tokens / t:,.0f} tokens/s" for name, t in times.items()}, flush=True)
    print(machine())
    print(
        f"training / bare loop, tokens a second: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()

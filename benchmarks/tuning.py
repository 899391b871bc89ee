"""Tuning: a step, and a cached prefix, against bare loops over the same model and batches.

    python benchmarks/tuning.py [--steps 20] [--rounds 9] [--threads 2]

Top 5 of the 24 blocks of a Llama of width 256. A round runs everything once, in turn, and takes the
median step of each:

- bare: forward of all blocks, backward to the lowest trained one, AdamW, in a plain loop;
- tuned: the same by ``actions.fit``; full: all blocks by ``actions.fit``; cached: with
  ``--cache-prefix``, beside everything that it does before the first step;
- top: the plain loop without the frozen blocks; below: the frozen blocks over all rows, once.

What three epochs gain from the cache is three epochs of (tuned - cached), less what is done before;
the most there is to gain is three epochs of (bare - top), less the frozen blocks once.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from paired import machine
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from cruxlm.actions.fit import fit, prepare
from cruxlm.actions.settings import Settings
from cruxlm.data.supervised import UNLEARNED, Collator, Supervised, SupervisedRow
from cruxlm.models.load import LoadedModel, load_model, quiet_transformers
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.workflows.tuning_items import training_items

BLOCKS, WIDTH, TOP, BATCH, EPOCHS = 24, 256, 5, 8, 3
ROWS = 40 * BATCH


def new_model() -> LoadedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=BLOCKS,
        num_attention_heads=4, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    return load_model(LlamaForCausalLM(config).eval())


def new_rows() -> Supervised:
    draw = torch.Generator().manual_seed(0)
    rows = []
    for number in range(ROWS):
        size = int(torch.randint(40, 80, (), generator=draw))
        tokens = torch.randint(3, 1024, (size,), generator=draw).tolist()
        rows.append(SupervisedRow(str(number), tuple(tokens), (size // 2, size), None))
    return Supervised(tuple(rows), 0, {})


class Watch(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        self.ends.append(time.perf_counter())

    @property
    def step(self) -> float:
        """Seconds from a step's end to the next's; the first three are left out."""
        return statistics.median(b - a for a, b in zip(self.ends[2:], self.ends[3:], strict=False))


def tuned(rows: Supervised, blocks: str, settings: Settings) -> tuple[float, float, list[float]]:
    """Seconds of a step, seconds to make the items, and the losses."""
    model, watch = new_model(), Watch()
    plan = make_plan("train", blocks_of(blocks, model.ref), model)
    begun = time.perf_counter()
    items = training_items(model, plan, rows, 128, settings)
    before = time.perf_counter() - begun
    module, _ = prepare(model, plan, settings)
    with tempfile.TemporaryDirectory() as folder:
        done = fit(model, module, plan, items.ordered, items.collate, settings, Path(folder),
                   wanted={}, guide=items.guide, callbacks=[watch])  # fmt: skip
    return watch.step, before, [point["loss"] for point in done.curves if "loss" in point]


def bare(rows: Supervised, settings: Settings, forward: Callable[..., Any] | None = None) -> float:
    """Seconds of a step of a plain loop."""
    model, watch = new_model(), Watch()
    plan = make_plan("train", blocks_of(f"last:{TOP}", model.ref), model)
    items = training_items(model, plan, rows, 128, settings)
    module, _ = prepare(model, plan, settings)
    module.train()
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, fused=True)
    ordered = [items.ordered[place] for place in range(len(items.ordered))]
    run = forward or (lambda module, batch: module(**batch, use_cache=False).logits)
    for step in range(settings.steps):
        batch = items.collate(ordered[step * BATCH : (step + 1) * BATCH])
        labels = batch.pop("labels")[:, 1:]
        logits = run(module, batch)[:, :-1]
        wanted = labels != UNLEARNED
        cross_entropy(logits[wanted].float(), labels[wanted]).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        watch.on_step_end()
    return watch.step


def through(module: Any, batch: dict[str, torch.Tensor], first: int, end: int) -> torch.Tensor:
    """What blocks ``first`` to ``end`` make of the embeddings."""
    states = module.model.embed_tokens(batch["input_ids"])
    places = torch.arange(states.shape[1])[None]
    rotary = module.model.rotary_emb(states, position_ids=places)
    for block in module.model.layers[first:end]:
        out = block(states, attention_mask=None, position_ids=places, position_embeddings=rotary)
        states = out if isinstance(out, torch.Tensor) else out[0]
    return states


def top_only(module: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What no cache can spare."""
    return module.lm_head(module.model.norm(through(module, batch, BLOCKS - TOP, BLOCKS)))


def below_once(rows: Supervised) -> float:
    """Seconds of the frozen blocks over all rows."""
    module, collate = new_model().module, Collator(0)
    ordered = sorted(rows.rows, key=lambda row: -len(row.tokens))
    with torch.no_grad():
        through(module, collate(ordered[:BATCH]), 0, BLOCKS - TOP)  # the first call costs more
        begun = time.perf_counter()
        for first in range(0, len(ordered), BATCH):
            through(module, collate(ordered[first : first + BATCH]), 0, BLOCKS - TOP)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows, steps, top = new_rows(), EPOCHS * ROWS // BATCH, f"last:{TOP}"
    one = Settings(steps=given.steps, batch=BATCH, checks=1)
    cached = Settings(steps=given.steps, batch=BATCH, checks=1, cache_prefix=True)
    ratios: dict[str, list[float]] = {"tuned / bare": [], "tuned / full": [], "gain": []}
    worst = 0.0
    for _ in range(given.rounds):
        with quiet_transformers(), own_cache():
            floor, (step, _, losses), (full, _, _) = (
                bare(rows, one), tuned(rows, top, one), tuned(rows, "all", one)
            )  # fmt: skip
            short, before, again = tuned(rows, top, cached)
            least, below = bare(rows, one, top_only), below_once(rows)
        ratios["tuned / bare"].append(step / floor)
        ratios["tuned / full"].append(step / full)
        ratios["gain"].append((steps * (step - short) - before) / (steps * (floor - least) - below))
        worst = max(worst, *(abs(a - b) for a, b in zip(losses, again, strict=True)))
        print({name: round(values[-1], 3) for name, values in ratios.items()}, flush=True)
    print(machine())
    for name, values in ratios.items():
        middle = statistics.median(values)
        print(f"{name}: {middle:.2f} ({min(values):.2f} to {max(values):.2f})")
    print(f"losses with and without the cache differ by at most {worst:.1e}")


@contextmanager
def own_cache() -> Iterator[None]:
    """A cache of this round's own, empty at first."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CRUX_CACHE"] = folder
        yield
        del os.environ["CRUX_CACHE"]


if __name__ == "__main__":
    main()

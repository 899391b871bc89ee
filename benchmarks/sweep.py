"""A sweep of substitution over all blocks, against its floor and against whole passes.

    python benchmarks/sweep.py [--rounds 9] [--threads 2]

A Llama of 24 blocks of width 256 with a head of 4,096 words, and a tuned copy, all of whose weights
differ; rows of 40 to 80 tokens, the last third of each the response. A round runs everything once,
in turn:

- bare: a plain loop over the same batches, with the time that is spent in the blocks;
- sweep: the criterion ``substitution``, window 1, of all blocks; its two baselines (one of them
  remembers the states) are timed as well, and counted apart;
- whole: the same without replay.

The floor of a sweep is half of the bare loop's time in the blocks, and all of the rest of it
(embeddings, masks, norm, head and losses), once for each block. Seconds are the process's own, so
that other work on the machine counts for less.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from paired import machine
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from cruxlm.criteria.subject import Subject
from cruxlm.criteria.substitution import SUBSTITUTION
from cruxlm.criteria.sweep import Sweep
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import Loss
from cruxlm.models.batches import Batch, batches
from cruxlm.models.load import load_model
from cruxlm.models.replay import Replay

BLOCKS, WIDTH, WORDS, ROWS, BATCH = 24, 256, 4096, 32, 8


def new_subject() -> Subject:
    """A model, examples, and a copy of it that is a little better on them."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=BLOCKS,
        num_attention_heads=4, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    base = LlamaForCausalLM(config).eval()
    tuned = copy.deepcopy(base)
    draw = torch.Generator().manual_seed(0)
    examples = []
    for number in range(ROWS):
        size = int(torch.randint(40, 80, (), generator=draw))
        tokens = torch.randint(3, 100, (size,), generator=draw).tolist()
        cut = 2 * size // 3
        examples.append(Example(str(number), tuple(tokens[:cut]), tuple(tokens[cut:])))
    optimizer = torch.optim.SGD(tuned.parameters(), lr=0.1)
    for batch in batched(examples):
        tuned(batch.tokens, labels=batch.tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return Subject(load_model(tuned), examples, Loss(BATCH), load_model(base))


def batched(examples: list[Example]) -> Iterator[Batch]:
    rows = [example.prompt + example.response for example in examples]
    places = [range(len(e.prompt) - 1, len(r) - 1) for e, r in zip(examples, rows, strict=True)]
    return batches(rows, places, pooling="all", batch_size=BATCH)


@torch.no_grad()
def bare(subject: Subject, made: list[Batch]) -> tuple[float, float]:
    """Seconds of a plain loop in the blocks, and in all else."""
    module: Any = subject.model.module
    marks: list[float] = []
    handles = [
        handle
        for block in subject.model.blocks.modules
        for handle in (
            block.register_forward_pre_hook(lambda *_: marks.append(time.process_time())),
            block.register_forward_hook(lambda *_: marks.append(time.process_time())),
        )
    ]
    begun = time.process_time()
    for batch in made:
        first = int(batch.columns.min())
        logits = module(
            input_ids=batch.tokens, attention_mask=batch.mask.long(), use_cache=False,
            logits_to_keep=batch.tokens.shape[1] - first,
        ).logits  # fmt: skip
        targets = batch.tokens[batch.rows, batch.columns + 1]
        cross_entropy(logits[batch.rows, batch.columns - first], targets, reduction="none")
    whole = time.process_time() - begun
    for handle in handles:
        handle.remove()
    inside = sum(end - start for start, end in zip(marks[::2], marks[1::2], strict=True))
    return inside, whole - inside


def swept(subject: Subject) -> tuple[float, float, list[float]]:
    """Seconds of a sweep without its baselines, seconds of those, and the scores."""
    spent: list[float] = []

    def timed(made: Any) -> Any:
        def run(*args: Any) -> Any:
            begun = time.process_time()
            found = made(*args)
            spent.append(time.process_time() - begun)
            return found

        return run

    begun = time.process_time()
    with patch.object(Sweep, "_intact", timed(Sweep._intact)):
        found = SUBSTITUTION.score(subject, **SUBSTITUTION.options("default"))
    return time.process_time() - begun - sum(spent), sum(spent), found.values.tolist()


@contextmanager
def without_replay() -> Iterator[None]:
    with patch.object(Replay, "from_block", lambda *_: nullcontext()):
        yield


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    subject = new_subject()
    made = list(batched(list(subject.examples)))
    bare(subject, made)  # the first call of anything pays for what later ones do not
    names = ("sweep / floor", "baselines / two plain loops", "whole / sweep", "head / plain loop")
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(given.rounds):
        parts = [bare(subject, made)]
        sweep, baselines, scores = swept(subject)
        parts.append(bare(subject, made))
        with without_replay():
            slow, _, again = swept(subject)
        if scores != again:
            raise SystemExit("with replay the scores are others than without")
        inside, rest = (statistics.mean(side) for side in zip(*parts, strict=True))
        ratios["sweep / floor"].append(sweep / (BLOCKS * (inside / 2 + rest)))
        ratios["baselines / two plain loops"].append(baselines / 2 / (inside + rest))
        ratios["whole / sweep"].append(slow / sweep)
        ratios["head / plain loop"].append(rest / (inside + rest))
        print({name: round(values[-1], 3) for name, values in ratios.items()}, flush=True)
    print(machine())
    for name, values in ratios.items():
        middle = statistics.median(values)
        print(f"{name}: {middle:.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()

"""Memory that capture adds to a forward pass, from the allocator's own record.

    python benchmarks/capture_memory.py

The bound: layers x batch x width x 4 bytes for the batch at hand (layers: every block's output and
the first block's input), plus the pooled states that are kept. Bytes, not seconds: exact, and the
same on every run.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from paired import machine
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaModel

from cruxlm.models.batches import Batch, batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.locate import find_blocks
from cruxlm.numerics.states import StatesAccumulator


def peak_bytes(call: Callable[[], object]) -> int:
    """The most bytes of tensors that were alive at once during the call, beyond those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    alive = peak = 0
    for _, change in changes:
        alive += change
        peak = max(peak, alive)
    return peak


def model(blocks: int, width: int) -> LlamaModel:
    """Random weights; only sizes matter here."""
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=blocks,
        num_attention_heads=4,
    )
    return LlamaModel(config).eval()


def extra_over_bound(blocks: int, width: int, samples: int, batch_size: int) -> float:
    """Peak of capture less peak of the bare pass, over the bound."""
    tower = model(blocks, width)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, 100, (12,), generator=generator).tolist() for _ in range(samples)]
    positions = chosen_positions(
        [12] * samples, "last", skip_first=[False] * samples, limit=1, seed=0
    )

    def prepared() -> list[Batch]:
        return list(batches(prompts, positions, pooling="last", batch_size=batch_size))

    def bare() -> None:
        with torch.no_grad():
            for batch in prepared():
                tower(input_ids=batch.tokens, attention_mask=batch.mask, use_cache=False)

    def captured() -> None:
        kept = StatesAccumulator([str(i) for i in range(samples)], blocks + 1, width)

        def receive(batch: Batch, states: torch.Tensor) -> None:
            kept.update([str(i) for i in batch.prompts], states)

        capture(find_blocks(tower), prepared(), receive)

    bare()
    layers = blocks + 1
    bound = layers * batch_size * width * 4 + layers * samples * width * 4
    return (peak_bytes(captured) - peak_bytes(bare)) / bound


def main() -> None:
    print(machine())
    for sizes in ((12, 768, 300, 16), (32, 512, 300, 32), (8, 256, 64, 64)):
        blocks, width, samples, batch_size = sizes
        share = extra_over_bound(*sizes)
        print(f"| capture memory / bound | {blocks} blocks x {width}, n = {samples}, "
              f"batch {batch_size} | {share:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()

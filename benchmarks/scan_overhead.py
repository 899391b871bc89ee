"""A whole scan against the bare forward pass of the same batches through the same blocks.

    python benchmarks/scan_overhead.py [--rounds 5]

Both run in one process on one random-weight model of the Llama architecture; the scan includes
everything: checks, hashing, tokens, hooks, similarities, errors, half-samples, selection.
"""

import argparse

import torch
from paired import machine, paired
from transformers import LlamaConfig, LlamaForCausalLM

import cruxlm as crux
from cruxlm.data.probes import load_probe
from cruxlm.data.tokens import tokenise
from cruxlm.models.batches import batches, chosen_positions

SAMPLES, BATCH = 300, 16


def model() -> LlamaForCausalLM:
    """12 blocks of width 768, 110 million weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=2048,
    )
    return LlamaForCausalLM(config).eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    llama = model()
    probe = tokenise(load_probe("random-tokens"), None, n=SAMPLES, vocabulary=32_000)
    positions = chosen_positions(
        [len(p) for p in probe.prompts], "last", skip_first=[False] * SAMPLES, limit=1, seed=0
    )
    prepared = list(batches(probe.prompts, positions, pooling="last", batch_size=BATCH))

    def forward() -> None:
        with torch.no_grad():
            for batch in prepared:
                llama.model(
                    input_ids=batch.tokens, attention_mask=batch.mask.long(), use_cache=False
                )

    def scan() -> None:
        crux.scan(llama, probe="random-tokens", n=SAMPLES, batch_size=BATCH)

    weights = sum(p.numel() for p in llama.parameters())
    ratio, spread = paired(scan, forward, rounds)
    tokens = sum(map(len, probe.prompts))
    print(machine())
    print(f"| scan / bare forward | {weights / 1e6:.0f}M weights, n = {SAMPLES}, {tokens} tokens "
          f"| {ratio:.2f} ({spread}) |")  # fmt: skip


if __name__ == "__main__":
    main()

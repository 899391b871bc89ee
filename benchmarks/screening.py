"""A whole screening against the bare forward pass of the same prompts through the same blocks.

    python benchmarks/screening.py [--rounds 5] [--kinds responses,prompts]

The screening includes everything: tokens, hooks, pooling, clusters, scores, thresholds. Its forward
passes are over the rows that are screened and the trusted ones; so are the bare ones.
"""

import argparse
import random

import torch
from paired import machine, paired
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.models.batches import batches
from cruxlm.models.load import load_model
from cruxlm.workflows.screen import screen
from cruxlm.workflows.screen_rows import screen_rows

SAMPLES, TRUSTED, BATCH, WORDS = 200, 120, 16, 2000


def model() -> LlamaForCausalLM:
    """12 blocks of width 512, 71 million weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=12,
        num_attention_heads=8,
        max_position_embeddings=2048,
    )
    return LlamaForCausalLM(config).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word."""
    known = {"<unk>": 0, "<s>": 1, **{f"w{n}": n + 2 for n in range(WORDS)}}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>")


def rows(count: int, seed: int, responses: bool) -> list[dict[str, object]]:
    """Prompts of 20 to 80 words, answered with one of two."""
    draw = random.Random(seed)
    found: list[dict[str, object]] = []
    for n in range(count):
        prompt = " ".join(f"w{draw.randrange(WORDS)}" for _ in range(draw.randint(20, 80)))
        messages = [{"role": "user", "content": prompt}]
        if responses:
            messages.append({"role": "assistant", "content": f"w{n % 2}"})
        found.append({"id": str(n), "messages": messages})
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="responses,prompts")
    given = parser.parse_args()
    loaded = load_model(model(), tokenizer=tokenizer())
    print(machine())
    for kind in given.kinds.split(","):
        responses = kind == "responses"
        data, trusted = rows(SAMPLES, 0, responses), rows(TRUSTED, 1, responses)
        prompts = [
            row.tokens[: row.response[0]]
            for held in (data, trusted)
            for row in screen_rows(held, loaded).tokens
        ]
        parts = (prompts[:SAMPLES], prompts[SAMPLES:])
        prepared = [
            batch
            for part in parts
            for batch in batches(part, [[0]] * len(part), pooling="last", batch_size=BATCH)
        ]

        def forward(prepared=prepared) -> None:
            with torch.no_grad():
                for batch in prepared:
                    loaded.blocks.tower(
                        input_ids=batch.tokens, attention_mask=batch.mask.long(), use_cache=False
                    )

        def screened(data=data, trusted=trusted) -> None:
            screen(data, model=loaded, benign=trusted, batch_size=BATCH)

        ratio, spread = paired(screened, forward, given.rounds)
        rows_read = f"n = {SAMPLES} and {TRUSTED} trusted, {sum(map(len, prompts))} tokens"
        print(f"| screening / bare forward, {kind} | {rows_read} | {ratio:.2f} ({spread}) |")


if __name__ == "__main__":
    main()

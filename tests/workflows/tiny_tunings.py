"""Tiny models that can read, and small files of rows."""

import json

from conftest import byte_tokenizer
from cruxlm.models.load import load_model
from plans.twelve import made

WORDS = ["boat", "harbour", "dawn", "rope", "sail", "wind", "gull"]
ANSWERS = ["no", "yes", "perhaps not"]


def chat_rows(count=30, first=0):
    """Prompts of different lengths, no two alike; the answers can be learned."""
    return [
        {
            "prompt": f"{WORDS[i % 7]} {' '.join(WORDS[: i % 4])} {i}",
            "response": ANSWERS[i % 3],
        }
        for i in range(first, first + count)
    ]


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def model_of(kind="llama", *, blocks=4, context=128, **changes):
    """A random model with a tokenizer of bytes."""
    deep = {"n_layer": blocks} if kind == "gpt2" else {"num_hidden_layers": blocks}
    long = {"n_positions": context} if kind == "gpt2" else {"max_position_embeddings": context}
    module = made(kind, vocab_size=300, **deep, **long, **changes)
    return load_model(module, tokenizer=byte_tokenizer(chat=True))

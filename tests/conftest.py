"""Shared fixtures: tiny random models and a byte-level tokenizer, made here, never downloaded."""

import gc
import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# Workers share the cores; tiny tensors gain nothing from a second thread.
torch.set_num_threads(1)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(*, chat: bool = False, bos: bool = True) -> PreTrainedTokenizerFast:
    """One token a byte, with a beginning-of-sequence token in front of chats."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<s>": 1, **{c: i + 2 for i, c in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>" if bos else None
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_llama(
    blocks: int = 6, width: int = 32, seed: int = 0, context: int = 512
) -> LlamaForCausalLM:
    """A random Llama, spread wider than usual so that its blocks differ."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(scope="session")
def llama() -> LlamaForCausalLM:
    return tiny_llama()


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama().save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Forty short texts of different lengths, no two alike."""
    words = [
        "the",
        "old",
        "boat",
        "left",
        "its",
        "harbour",
        "before",
        "dawn",
        "and",
        "nobody",
        "saw",
        "where",
        "it",
        "went",
        "that",
        "day",
    ]
    return [" ".join(words[i % 7 : 3 + i % 7 + i // 7]) + f" {i}" for i in range(40)]


@pytest.fixture(scope="module")
def frozen():
    """Half of a tiny training is the collection of garbage at its end."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _real(variable: str, fallback: str) -> Path:
    folder = Path(os.environ.get(variable, Path(__file__).parents[2] / "shared" / fallback))
    if not folder.is_dir():
        pytest.skip(f"{variable} names no folder: real assets are absent")
    return folder


@pytest.fixture(scope="session")
def real_models() -> Path:
    return _real("CRUX_REAL_MODELS", "models")


@pytest.fixture(scope="session")
def real_data() -> Path:
    return _real("CRUX_REAL_DATA", "data")

"""Tiny random models of several architectures, examples for them, and plain passes as an oracle."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from cruxlm.evaluate.examples import Example

VOCABULARY = 61
BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {key: value for key, value in BASE.items() if key != "num_key_value_heads"}
SMALL_HEADS = {**BASE, "head_dim": 4}
WINDOW = {"sliding_window": 4}
GEMMA = {**SMALL_HEADS, **WINDOW, "query_pre_attn_scalar": 4}
GPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", BASE),
    "GPT2LMHead": ("GPT2Config", GPT),
    "GPTBigCode": ("GPTBigCodeConfig", GPT),
    "Qwen2": ("Qwen2Config", BASE),
    "Qwen3": ("Qwen3Config", SMALL_HEADS),
    "Mistral": ("MistralConfig", {**BASE, **WINDOW}),
    "Gemma2": ("Gemma2Config", GEMMA),
    "Gemma3": ("Gemma3TextConfig", GEMMA),
    "GPTNeoX": ("GPTNeoXConfig", HEADS),
    "Olmo2": ("Olmo2Config", BASE),
    "Bloom": ("BloomConfig", {**GPT, "hidden_size": 16}),
    "OPT": ("OPTConfig", {**HEADS, "ffn_dim": 32, "word_embed_proj_dim": 16}),
}
"""Causal models by the start of their class's name, and the options of their configuration."""


def built(name: str, **changes: Any) -> Any:
    """A random causal model whose logits spread widely, so that its choices have clear margins."""
    config, options = ARCHITECTURES[name]
    torch.manual_seed(0)
    ending = "Model" if name.endswith("Head") else "ForCausalLM"
    made = getattr(transformers, config)(**{**options, **changes})
    model = getattr(transformers, f"{name}{ending}")(made)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.35)
    return model.eval()


def drawn(count: int, seed: int = 0, longest: int = 14) -> list[Example]:
    """Examples of random tokens: prompts and responses of many lengths, three choices each."""
    draw = torch.Generator().manual_seed(seed)

    def tokens() -> tuple[int, ...]:
        length = int(torch.randint(1, longest, (), generator=draw))
        return tuple(torch.randint(3, VOCABULARY, (length,), generator=draw).tolist())

    examples = []
    for number in range(count):
        choices = (tokens(), tokens(), tokens())
        right = number % 3
        group = "even" if number % 2 == 0 else "odd"
        examples.append(Example(f"e{number}", tokens(), choices[right], "", choices, right, group))
    return examples


def plain_logits(model: nn.Module, tokens: tuple[int, ...] | list[int]) -> Tensor:
    """One sequence alone, without padding, mask, positions or cache."""
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([list(tokens)]), use_cache=False).logits[0]
    return logits


def rigged(model: Any, favourite: int, by: float) -> Any:
    """A model whose logits are 0, but ``by`` for one token, whatever it reads."""
    with torch.no_grad():
        model.lm_head = nn.Linear(model.config.hidden_size, model.config.vocab_size)
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        model.lm_head.bias[favourite] = by
    return model

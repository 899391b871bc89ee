"""The recipe of a testbed model: its shape, its first weights and how it is trained.

The defaults come from a pilot of 16 blocks of width 128: learning rate, first weights and
packing trained there without a spike. Deep and narrow is on purpose, as statistics over
layers need many layers and the model has to be trained on one processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of a testbed model."""

    blocks: int = 24
    """Decoder blocks."""
    width: int = 96
    """Width of the residual stream."""
    heads: int = 4
    """Attention heads; each has ``width / heads`` dimensions."""
    ffn: int = 256
    """Inner width of the gated feed-forward part."""
    vocabulary: int = 1024
    """Tokens of the tokenizer."""
    context: int = 256
    """Tokens of one packed sequence, and the longest row."""
    batch: int = 18
    """Packed sequences of one step; 18 x 256 = 4,608 tokens."""
    tokens: int = 6_000_000
    """Tokens of the whole training, padding included; rounded down to whole steps."""
    learning_rate: float = 1.5e-3
    """Highest learning rate, reached at the end of the warm-up."""
    last_learning_rate: float = 0.03
    """The learning rate at the end of the cosine, as a share of the highest."""
    warmup: int = 100
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""
    weight_decay: float = 0.05
    """AdamW's weight decay, not applied to the norms."""
    clip: float = 1.0
    """Largest gradient norm."""
    prompt_weight: float = 0.1
    """Weight of a prompt token in the loss; a response token has weight 1."""
    bf16: bool = True
    """Whether the forward pass runs under bfloat16 autocast (the weights stay float32)."""
    seed: int = 0
    """Seed of the training rows, their order and the first weights."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training, at least one."""
        return max(1, self.tokens // (self.batch * self.context))


def new_model(recipe: Recipe, *, pad: int, bos: int, eos: int) -> LlamaForCausalLM:
    """A model with its first weights, drawn from the recipe's seed.

    Args:
        recipe: Shape and seed.
        pad: Token id of the padding token.
        bos: Token id that begins a row.
        eos: Token id that ends a row.
    """
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
    )
    model = LlamaForCausalLM(config)
    _draw_weights(model, recipe)
    return model


@torch.no_grad()
def _draw_weights(model: LlamaForCausalLM, recipe: Recipe) -> None:
    """Draw all matrices: 0.7 / sqrt(fan-in), less at the outputs into the residual stream.

    Each block adds two terms to the residual stream. Scaling them by 1 / sqrt(2 blocks)
    keeps the variance of the sum independent of the depth (Radford et al. 2019, GPT-2).
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding):
            module.weight.normal_(std=0.06, generator=generator)
        elif isinstance(module, torch.nn.Linear) and not name.endswith("lm_head"):
            std = 0.7 / math.sqrt(module.in_features)
            if name.endswith(("o_proj", "down_proj")):
                std /= math.sqrt(2 * recipe.blocks)
            module.weight.normal_(std=std, generator=generator)

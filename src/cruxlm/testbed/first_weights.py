"""The model that a training begins with."""

import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from cruxlm.testbed.recipe import Recipe


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A model with its first weights, drawn from the recipe's seed and from nothing else."""
    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():  # the library draws weights of its own first
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

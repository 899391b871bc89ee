"""Tiny random models of twelve blocks or more, in which block 1 and block 10 could be confused."""

import torch
import transformers
from transformers import PreTrainedModel

BLOCKS, WIDTH, VOCABULARY = 12, 16, 61
BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 40,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_layer": BLOCKS,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
KINDS = {
    "llama": ("Llama", BASE),
    "gpt2": ("GPT2", GPT),  # Conv1D, a tied head, learned positions
    "mixtral": ("Mixtral", {**BASE, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen3_moe": ("Qwen3Moe", {**BASE, **EXPERTS, "num_experts": 3, "head_dim": 4}),
    # A dense first block and shared experts beside the routed ones.
    "deepseek": (
        "DeepseekV3",
        {
            **BASE,
            **EXPERTS,
            "num_key_value_heads": 4,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 4,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
    ),
    "gemma": ("Gemma", {**BASE, "head_dim": 4}),  # a tied head
    "opt": ("OPT", {**BASE, "ffn_dim": 40, "word_embed_proj_dim": WIDTH}),
    "mamba": (
        "Mamba",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_hidden_layers": BLOCKS,
            "state_size": 4,
            "time_step_rank": 2,
        },
    ),
}


def made(kind: str, *, seed: int = 0, attention: str | None = None, **changes) -> PreTrainedModel:
    """A causal model of one kind, spread wider than usual."""
    name, options = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**{**options, **changes})
    ending = "LMHeadModel" if kind == "gpt2" else "ForCausalLM"
    torch.manual_seed(seed)
    build = getattr(transformers, f"{name}{ending}")
    given = {} if attention is None else {"attn_implementation": attention}
    model = build._from_config(config, **given)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2)
    return model.eval()


def step(model: PreTrainedModel, *, batch: int = 2, tokens: int = 9, seed: int = 0) -> torch.Tensor:
    """The loss on random tokens, of which the first row lacks two, ready for a backward pass."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (batch, tokens), generator=draw)
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0
    return model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False).loss

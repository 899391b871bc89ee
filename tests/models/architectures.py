"""Tiny random models of many architectures, and what is known of each."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import nn

VOCABULARY, WIDTH, DEPTH = 61, 16, 3
LENGTHS = (5, 11, 7, 11, 3, 9)
"""Prompts of different lengths, two of them equal; most are longer than the sliding windows."""
CLOSE: dict[str, float] = {"atol": 1e-5, "rtol": 1e-5}

BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = {"sliding_window": 4}
HEADS = {k: v for k, v in BASE.items() if k != "num_key_value_heads"}
"""Keys that architectures with as many keys as queries know."""
GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_layer": DEPTH,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
"""There are as many experts as blocks: a list of them must not be taken for the blocks."""
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 16,
}
"""A vision tower as deep and as wide as the text tower."""
MLA = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "num_key_value_heads": 4,
}
MROPE = {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 0]}}
QWEN_VISION = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": 4, "hidden_size": WIDTH}
NOT_EXACT_LEFT = "transformers itself gives other states for prompts that are padded on the left"
"""It numbers positions from the left edge (BART) or has a recurrence run over padding (RWKV)."""
MODERN = int(transformers.__version__.partition(".")[0]) >= 5


@dataclass(frozen=True)
class Case:
    """An architecture and what is known of it."""

    model: str
    """Class in transformers."""
    config: str
    """Its configuration's class."""
    path: str
    """Where its blocks are."""
    options: dict[str, Any]
    """Options of the configuration."""
    hidden: bool = True
    """Whether ``hidden_states[i + 1]`` is the output of block i, for all but the last block."""
    left: bool = True
    """Whether transformers is exact for prompts padded on the left."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """What the whole model wants besides the prompt."""
    spread: float = 0.25
    """Standard deviation of its weights."""

    def build(self) -> nn.Module:
        """A model whose blocks differ more than a fresh one's, so that a mistake shows."""
        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**self.options)
        model: nn.Module = getattr(transformers, self.model)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, self.spread)
        return model.eval()


CASES = [
    Case("LlamaForCausalLM", "LlamaConfig", "model.layers", BASE),
    Case("LlamaModel", "LlamaConfig", "layers", BASE),
    Case("LlamaForSequenceClassification", "LlamaConfig", "model.layers", BASE),
    Case("Qwen2ForCausalLM", "Qwen2Config", "model.layers", BASE),
    Case("Qwen3ForCausalLM", "Qwen3Config", "model.layers", {**BASE, "head_dim": 4}),
    Case("MistralForCausalLM", "MistralConfig", "model.layers", {**BASE, **WINDOW}),
    Case("GemmaForCausalLM", "GemmaConfig", "model.layers", {**BASE, "head_dim": 4}),
    Case(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        "model.layers",
        {**BASE, **WINDOW, "head_dim": 4, "query_pre_attn_scalar": 4},
    ),
    Case(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        "model.layers",
        {**BASE, **WINDOW, "head_dim": 4, "query_pre_attn_scalar": 4},
    ),
    Case("Phi3ForCausalLM", "Phi3Config", "model.layers", {**BASE, **WINDOW}),
    Case("PhiForCausalLM", "PhiConfig", "model.layers", BASE),
    Case("StableLmForCausalLM", "StableLmConfig", "model.layers", BASE),
    Case("CohereForCausalLM", "CohereConfig", "model.layers", BASE),
    Case("Cohere2ForCausalLM", "Cohere2Config", "model.layers", {**BASE, **WINDOW}),
    Case("GraniteForCausalLM", "GraniteConfig", "model.layers", BASE),
    Case("OlmoForCausalLM", "OlmoConfig", "model.layers", BASE),
    Case("Olmo2ForCausalLM", "Olmo2Config", "model.layers", BASE),
    Case("Olmo3ForCausalLM", "Olmo3Config", "model.layers", {**BASE, **WINDOW}),
    Case("SmolLM3ForCausalLM", "SmolLM3Config", "model.layers", BASE),
    Case("Starcoder2ForCausalLM", "Starcoder2Config", "model.layers", BASE),
    Case("Glm4ForCausalLM", "Glm4Config", "model.layers", {**BASE, "head_dim": 4}),
    Case("FalconForCausalLM", "FalconConfig", "transformer.h", HEADS),
    Case(
        "FalconForCausalLM",
        "FalconConfig",
        "transformer.h",
        {**HEADS, "alibi": True, "parallel_attn": False},
    ),
    Case("GPT2LMHeadModel", "GPT2Config", "transformer.h", GPT),
    Case("GPTJForCausalLM", "GPTJConfig", "transformer.h", {**GPT, "rotary_dim": 4}),
    Case("GPTBigCodeForCausalLM", "GPTBigCodeConfig", "transformer.h", GPT),
    Case("GPTNeoXForCausalLM", "GPTNeoXConfig", "gpt_neox.layers", HEADS),
    Case(
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        "transformer.h",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 4,
            "max_position_embeddings": 64,
        },
    ),
    Case(
        "OPTForCausalLM",
        "OPTConfig",
        "model.decoder.layers",
        {**HEADS, "ffn_dim": 32, "word_embed_proj_dim": WIDTH},
    ),
    Case(
        "BloomForCausalLM",
        "BloomConfig",
        "transformer.h",
        {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": DEPTH, "n_head": 4},
    ),
    Case(
        "MptForCausalLM",
        "MptConfig",
        "transformer.blocks",
        {
            "vocab_size": VOCABULARY,
            "d_model": WIDTH,
            "n_layers": DEPTH,
            "n_heads": 4,
            "max_seq_len": 64,
        },
    ),
    Case(
        "MixtralForCausalLM",
        "MixtralConfig",
        "model.layers",
        {**BASE, "num_local_experts": DEPTH, "num_experts_per_tok": 2},
    ),
    Case(
        "OlmoeForCausalLM",
        "OlmoeConfig",
        "model.layers",
        {**BASE, **EXPERTS, "num_experts": DEPTH},
    ),
    Case(
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        "model.layers",
        {**BASE, **EXPERTS, "num_experts": DEPTH, "shared_expert_intermediate_size": 32},
    ),
    Case(
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        "model.layers",
        {**BASE, **EXPERTS, "num_experts": DEPTH, "head_dim": 4},
    ),
    Case(
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        "model.layers",
        {
            **BASE,
            **EXPERTS,
            **MLA,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
    ),
    Case(
        "GptOssForCausalLM",
        "GptOssConfig",
        "model.layers",
        {**BASE, **WINDOW, "head_dim": 4, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    Case("BertModel", "BertConfig", "encoder.layer", HEADS),
    Case("BertForMaskedLM", "BertConfig", "bert.encoder.layer", HEADS),
    Case(
        "RobertaForMaskedLM",
        "RobertaConfig",
        "roberta.encoder.layer",
        {**HEADS, "pad_token_id": 1},
    ),
    Case("ElectraModel", "ElectraConfig", "encoder.layer", {**HEADS, "embedding_size": 8}),
    Case("ModernBertModel", "ModernBertConfig", "layers", {**HEADS, "local_attention": 4}),
    Case(
        "DistilBertModel",
        "DistilBertConfig",
        "transformer.layer",
        {
            "vocab_size": VOCABULARY,
            "dim": WIDTH,
            "hidden_dim": 32,
            "n_layers": DEPTH,
            "n_heads": 4,
            "max_position_embeddings": 64,
        },
        left=False,
    ),
    Case(
        "T5ForConditionalGeneration",
        "T5Config",
        "encoder.block",
        {
            "vocab_size": VOCABULARY,
            "d_model": WIDTH,
            "d_kv": 4,
            "d_ff": 32,
            "num_layers": DEPTH,
            "num_heads": 4,
        },
        inputs={"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)},
    ),
    Case(
        "BartForConditionalGeneration",
        "BartConfig",
        "model.encoder.layers",
        {
            "vocab_size": VOCABULARY,
            "d_model": WIDTH,
            "encoder_layers": DEPTH,
            "decoder_layers": DEPTH,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 64,
        },
        left=False,
    ),
    Case(
        "MambaForCausalLM",
        "MambaConfig",
        "backbone.layers",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_hidden_layers": DEPTH,
            "state_size": 4,
            "time_step_rank": 2,
        },
        hidden=False,  # its hidden_states have no embeddings
    ),
    Case(
        "JambaForCausalLM",
        "JambaConfig",
        "model.layers",
        {
            **BASE,
            "mamba_d_state": 4,
            "mamba_d_conv": 3,
            "mamba_dt_rank": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": DEPTH,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "use_mamba_kernels": False,
        },
    ),
    Case(
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        "model.language_model.layers",
        {
            "text_config": {**BASE, "model_type": "llama"},
            "vision_config": {**VISION, "model_type": "clip_vision_model"},
        },
    ),
    Case(
        "LlavaForConditionalGeneration",
        "LlavaConfig",
        "model.language_model.layers",
        {
            "text_config": {**BASE, "model_type": "qwen2"},
            "vision_config": {**VISION, "model_type": "siglip_vision_model"},
        },
    ),
    Case(
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        "model.language_model.layers",
        {
            "text_config": {**BASE, **WINDOW, "head_dim": 4, "query_pre_attn_scalar": 4},
            "vision_config": VISION,
        },
    ),
    Case(
        "Qwen2VLForConditionalGeneration",
        "Qwen2VLConfig",
        "model.language_model.layers",
        {"text_config": {**BASE, **MROPE}, "vision_config": QWEN_VISION},
    ),
    Case("IBertModel", "IBertConfig", "encoder.layer", {**HEADS, "pad_token_id": 1}),
    Case("MPNetModel", "MPNetConfig", "encoder.layer", {**HEADS, "pad_token_id": 1}),
    Case(
        "DebertaV2Model", "DebertaV2Config", "encoder.layer", {**HEADS, "relative_attention": True}
    ),
    Case("XLMRobertaModel", "XLMRobertaConfig", "encoder.layer", {**HEADS, "pad_token_id": 1}),
    Case(
        "ProphetNetForConditionalGeneration",
        "ProphetNetConfig",
        "prophetnet.encoder.layers",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_encoder_layers": DEPTH,
            "num_decoder_layers": DEPTH,
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 64,
        },
        left=False,
        inputs={"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)},
    ),
    Case(
        "LongT5EncoderModel",
        "LongT5Config",
        "encoder.block",
        {
            "vocab_size": VOCABULARY,
            "d_model": WIDTH,
            "d_kv": 4,
            "d_ff": 32,
            "num_layers": DEPTH,
            "num_heads": 4,
            "local_radius": 4,
        },
    ),
    Case(
        "T5GemmaForConditionalGeneration",
        "T5GemmaConfig",
        "model.encoder.layers",
        {
            "encoder": {**BASE, **WINDOW, "head_dim": 4, "query_pre_attn_scalar": 4},
            "decoder": {
                **BASE,
                **WINDOW,
                "head_dim": 4,
                "query_pre_attn_scalar": 4,
                "num_hidden_layers": 2,
            },
        },
        inputs={"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long)},
    ),
    Case(
        "Mamba2ForCausalLM",
        "Mamba2Config",
        "backbone.layers",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_hidden_layers": DEPTH,
            "state_size": 4,
            "num_heads": 4,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 4,
        },
        hidden=False,
    ),
    Case(
        "FalconMambaForCausalLM",
        "FalconMambaConfig",
        "backbone.layers",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_hidden_layers": DEPTH,
            "state_size": 4,
            "time_step_rank": 2,
        },
        hidden=False,
    ),
    Case(
        "BambaForCausalLM",
        "BambaConfig",
        "model.layers",
        {
            **BASE,
            "attn_layer_indices": [1],
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 4,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 4,
        },
    ),
    Case(
        "RwkvForCausalLM",
        "RwkvConfig",
        "rwkv.blocks",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_hidden_layers": DEPTH,
            "attention_hidden_size": WIDTH,
        },
        hidden=False,
        left=False,
    ),
    Case(
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        "model.layers",
        {
            **BASE,
            **EXPERTS,
            "num_experts": DEPTH,
            "shared_expert_intermediate_size": 32,
            "head_dim": 4,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 4,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        },
        spread=0.1,  # its delta rule is ill-conditioned where keys are large
    ),
    Case(
        "Lfm2ForCausalLM",
        "Lfm2Config",
        "model.layers",
        {**BASE, "layer_types": ["conv", "full_attention", "conv"]},
        left=MODERN,
    ),
    Case(
        "Exaone4ForCausalLM",
        "Exaone4Config",
        "model.layers",
        {**BASE, **WINDOW, "sliding_window_pattern": 2},
    ),
    Case("NemotronForCausalLM", "NemotronConfig", "model.layers", {**BASE, "head_dim": 4}),
    Case(
        "Idefics3ForConditionalGeneration",
        "Idefics3Config",
        "model.text_model.layers",
        {"text_config": {**BASE, "model_type": "llama"}, "vision_config": VISION},
    ),
    Case(
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLConfig",
        "model.language_model.layers",
        {
            "text_config": {**BASE, **MROPE, "head_dim": 4},
            "vision_config": {
                **QWEN_VISION,
                "out_hidden_size": WIDTH,
                "deepstack_visual_indexes": [0],
            },
        },
    ),
    Case(
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        "model.layers",
        {
            **BASE,
            "head_dim": 4,
            "intermediate_size_mlp": 32,
            "num_local_experts": DEPTH,
            "attention_chunk_size": 4,
        },
    ),
]


def case_id(case: Case) -> str:
    same = [other for other in CASES if other.model == case.model]
    return case.model if len(same) == 1 else f"{case.model}-{same.index(case)}"


architectures = pytest.mark.parametrize("case", CASES, ids=case_id)


def made_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in LENGTHS]


@cache
def _model(index: int) -> nn.Module:
    return CASES[index].build()


def built(case: Case) -> nn.Module:
    # Building and importing is what takes the time: once an architecture.
    return _model(CASES.index(case))


def pad_token_of(model: Any) -> int:
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0


def count_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


REFUSED = [
    # One block, run three times.
    ("AlbertModel", "AlbertConfig", {**HEADS, "embedding_size": 8}),
    # Attentions in one list, feed-forward halves in another.
    ("XLMModel", "XLMConfig", {"n_words": 61, "emb_dim": WIDTH, "n_layers": DEPTH, "n_heads": 4}),
    # Time before batch.
    (
        "XLNetModel",
        "XLNetConfig",
        {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_layer": DEPTH, "n_head": 4, "d_inner": 32},
    ),
    # Four streams in place of one.
    (
        "Gemma3nForCausalLM",
        "Gemma3nTextConfig",
        {
            **BASE,
            "head_dim": 4,
            "intermediate_size": [32] * DEPTH,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 4,
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0] * DEPTH,
        },
    ),
]

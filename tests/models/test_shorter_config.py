"""Configurations for fewer blocks say of each kept block what they said of it before."""

import copy
from itertools import combinations
from typing import Any

import pytest
import transformers

from cruxlm.models.shorter_config import patterns, shorten
from cruxlm.runtime.errors import ModelError
from models.architectures import MODERN

EIGHT = [kept for size in (1, 3, 5, 7) for kept in combinations(range(8), size)]


def shortened(config: Any, kept: Any) -> Any:
    short = copy.deepcopy(config)
    shorten(short, list(kept), config.num_hidden_layers)
    return type(config).from_dict(short.to_dict())


def jamba(**options: Any) -> Any:
    return transformers.JambaConfig(num_hidden_layers=8, use_mamba_kernels=False, **options)


def has_period(kinds: list[bool]) -> bool:
    """The oracle: all periods up to three times the length."""
    places = range(len(kinds))
    return any(
        kinds == [place % period == offset for place in places]
        for period in range(1, 3 * len(kinds) + 3)
        for offset in range(period)
    )


def test_periods_are_found_wherever_there_are_any() -> None:
    config = jamba(attn_layer_period=4, attn_layer_offset=2)
    refused = 0
    for kept in EIGHT:
        attention = [block % 4 == 2 for block in kept]
        experts = [block % 2 == 1 for block in kept]
        if has_period(attention) and has_period(experts):
            short = shortened(config, kept)
            assert [kind == "attention" for kind in short.layers_block_type] == attention
            assert [count > 1 for count in short.layers_num_experts] == experts
        else:
            refused += 1
            with pytest.raises(ModelError, match=r"(attn|expert)_layer_period .*_offset"):
                shortened(config, kept)
    assert 0 < refused < len(EIGHT)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_every_choice_of_experts_can_be_said(step: int) -> None:
    config = transformers.Qwen3MoeConfig(
        num_hidden_layers=8, decoder_sparse_step=step, mlp_only_layers=[1, 5]
    )

    def sparse(config: Any, block: int) -> bool:  # as Qwen's blocks ask
        dense = block in config.mlp_only_layers
        return not dense and (block + 1) % config.decoder_sparse_step == 0

    for kept in EIGHT:
        short = shortened(config, kept)
        assert [sparse(short, place) for place in range(len(kept))] == [
            sparse(config, block) for block in kept
        ]


def test_lists_numbers_and_counts() -> None:
    config = transformers.PretrainedConfig()
    told = {
        "num_hidden_layers": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "moe_layers": [0, 1, 2, 3],
        "attn_layer_indices": [1, 3],
        "num_query_heads": (4, 6, 8, 10),
        "eos_token_id": [5, 6, 7, 8],
        "hybrid_override_pattern": "M-M*",
        "activation": "gelu",
        "first_k_dense_replace": 2,
        "max_window_layers": 28,
        "num_kv_shared_layers": 2,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": 2,
    }
    vars(config).update(told)
    shorten(config, [1, 3], 4)
    assert {name: vars(config)[name] for name in told} == {
        "num_hidden_layers": 2,
        "no_rope_layers": [1, 0],
        "moe_layers": [0, 1],
        "attn_layer_indices": [0, 1],
        "num_query_heads": [6, 10],
        "eos_token_id": [5, 6, 7, 8],  # four tokens, not one for each block
        "hybrid_override_pattern": "-*",
        "activation": "gelu",
        "first_k_dense_replace": 1,
        "max_window_layers": 28,
        "num_kv_shared_layers": 1,
        "moe_layer_start_index": 0,
        "moe_layer_end_index": 0,
    }


def test_patterns_of_others() -> None:
    neo = transformers.GPTNeoConfig(num_layers=4, attention_types=[[["global", "local"], 2]])
    assert shortened(neo, [0, 1, 3]).attention_layers == ["global", "local", "local"]
    gemma = transformers.RecurrentGemmaConfig(num_hidden_layers=5)
    kinds = gemma.layers_block_type
    assert shortened(gemma, [1, 2, 4]).layers_block_type == [kinds[1], kinds[2], kinds[4]]
    llama = transformers.Llama4TextConfig(num_hidden_layers=8, interleave_moe_layer_step=2)
    assert llama.moe_layers == [1, 3, 5, 7]
    assert shortened(llama, [0, 3, 4, 5]).moe_layers == [1, 3]


@pytest.mark.skipif(MODERN, reason="transformers 5 lists the kinds of ModernBERT's blocks")
def test_every_third_block_from_the_first() -> None:
    bert = transformers.ModernBertConfig(num_hidden_layers=7, global_attn_every_n_layers=3)
    assert shortened(bert, [0, 1, 3, 4]).global_attn_every_n_layers == 2
    with pytest.raises(ModelError, match="global_attn_every_n_layers 3"):
        shortened(bert, [1, 2, 3])


def test_a_depth_that_is_not_known_is_refused() -> None:
    class Odd(transformers.PretrainedConfig):
        @property
        def num_hidden_layers(self) -> int:
            return 4

    with pytest.raises(ModelError, match="Odd does not say where"):
        shorten(Odd(), [0], 4)


def test_patterns_are_named() -> None:
    assert "attn_layer_period 4" in patterns(jamba(attn_layer_period=4, attn_layer_offset=2))
    assert not patterns(transformers.LlamaConfig())

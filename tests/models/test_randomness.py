"""What is random below a block: as the modules say it, and as training mode shows it."""

import pytest
import torch
import transformers
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.randomness import random_below
from models.architectures import BASE, GPT, HEADS, Case, architectures, built


def drawn(model: LoadedModel, block: int, seed: int) -> Tensor:
    """What enters a block in training mode; the oracle."""
    seen: list[Tensor] = []
    handle = model.blocks.modules[block].register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    torch.manual_seed(seed)
    tokens = torch.arange(3, 51).reshape(4, 12)
    try:
        with torch.no_grad():
            model.blocks.tower.train()(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    finally:
        handle.remove()
        model.blocks.tower.eval()
    return seen[0] if seen else torch.empty(0)  # a block may be dropped whole


@architectures
def test_where_nothing_is_named_training_draws_nothing(case: Case) -> None:
    model = load_model(built(case))
    last = len(model.blocks.modules) - 1
    for block in (0, last):
        one, two = drawn(model, block, 11), drawn(model, block, 12)
        torch.manual_seed(7)
        before = torch.get_rng_state()
        said = random_below(model, block)
        assert torch.equal(torch.get_rng_state(), before)
        assert not any(part.training for part in model.module.modules())
        assert said or torch.equal(one, two)
        if block == last:  # below it nothing is named that does not show
            assert bool(said) is not torch.equal(one, two)


BELOW = [
    ("GPT2LMHeadModel", "GPT2Config", {**GPT, "resid_pdrop": 0.5}, "transformer.h.0.mlp.dropout"),
    ("GPT2LMHeadModel", "GPT2Config", {**GPT, "attn_pdrop": 0.5}, "h.0.attn.attn_dropout"),
    ("GPT2LMHeadModel", "GPT2Config", {**GPT, "embd_pdrop": 0.5}, "transformer.drop"),
    ("LlamaForCausalLM", "LlamaConfig", {**BASE, "attention_dropout": 0.5}, "attention_dropout"),
    ("BertModel", "BertConfig", {**HEADS, "hidden_dropout_prob": 0.5}, "embeddings.dropout"),
    (
        "OPTForCausalLM",
        "OPTConfig",
        {**HEADS, "ffn_dim": 32, "word_embed_proj_dim": 16, "dropout": 0.5},
        "model.decoder.layers.0.dropout",
    ),
    (
        "OPTForCausalLM",
        "OPTConfig",
        {**HEADS, "ffn_dim": 32, "word_embed_proj_dim": 16, "dropout": 0.0, "layerdrop": 0.5},
        "model.decoder.layerdrop",
    ),
    (
        "MixtralForCausalLM",
        "MixtralConfig",
        {**BASE, "num_local_experts": 4, "router_jitter_noise": 0.5},
        "jitter_noise",
    ),
]
OFF = {"resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "hidden_dropout_prob": 0.0,
       "attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}  # fmt: skip


@pytest.mark.parametrize(("name", "config", "options", "said"), BELOW)
def test_what_is_random_is_named(name: str, config: str, options: dict, said: str) -> None:
    torch.manual_seed(0)
    given = getattr(transformers, config)(**{**OFF, **options})
    model = load_model(getattr(transformers, name)(given).eval())
    assert any(path.endswith(said) for path in random_below(model, 2))
    assert not torch.equal(drawn(model, 2, 1), drawn(model, 2, 2))
    off = {word: 0.0 for word in options if "drop" in word or "jitter" in word}
    calm = getattr(transformers, config)(**{**OFF, **options, **off})
    model = load_model(getattr(transformers, name)(calm).eval())
    assert random_below(model, 2) == ()


def test_only_what_comes_before_the_block_counts() -> None:
    model = load_model(tiny_llama(blocks=12))
    model.blocks.modules[10].self_attn.attention_dropout = 0.1
    model.module.train()
    assert random_below(model, 1) == random_below(model, 10) == ()
    assert random_below(model, 11) == ("model.layers.10.self_attn.attention_dropout",)


def test_dropout_that_is_switched_off_does_not_count() -> None:
    module = tiny_llama(blocks=2)
    module.model.embed_tokens = nn.Sequential(module.model.embed_tokens, nn.Dropout(0.0))
    model = load_model(module)
    assert random_below(model, 1) == ()
    module.model.embed_tokens[1].p = 0.2
    assert random_below(model, 0) == ("model.embed_tokens.1",)


def test_what_no_module_names_is_drawn() -> None:
    """ProphetNet reads the dropout of its embeddings in its configuration."""
    model = load_model(tiny_llama(blocks=3))
    model.blocks.modules[1].mlp.register_forward_hook(
        lambda module, _args, states: nn.functional.dropout(states, 0.3, training=module.training)
    )
    assert random_below(model, 1) == ()
    assert random_below(model, 2) == ("what comes before model.layers.2",)

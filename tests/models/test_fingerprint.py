"""What a model's numbers depend on: it changes with each of them, and is plain data."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.fingerprint import bytes_sha256, fingerprint, tokenizer_sha256
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.swap import only_adapters
from models.architectures import BASE, Case, architectures, built


def said(model: LoadedModel) -> str:
    return json.dumps(fingerprint(model, model.module), allow_nan=False)


@architectures
def test_it_is_plain_data_of_every_architecture(case: Case) -> None:
    model = load_model(built(case))
    assert said(model) == said(model)


def test_an_infinite_limit_is_no_obstacle() -> None:
    """Mamba 2 has one, and JSON has none."""
    options = {"hidden_size": 16, "num_heads": 4, "head_dim": 8, "n_groups": 1, "state_size": 4}
    config = transformers.Mamba2Config(vocab_size=61, num_hidden_layers=2, **options)
    config.time_step_limit = (0.0, float("inf"))
    model = load_model(transformers.Mamba2ForCausalLM(config))
    assert '"inf"' in said(model)


def one_value(module: Any) -> None:
    with torch.no_grad():
        module.model.layers[1].mlp.up_proj.weight.view(-1)[77] += 1e-7


CHANGES: dict[str, Callable[[Any], Any]] = {
    "value": one_value,
    "buffer": lambda module: module.model.rotary_emb.inv_freq.mul_(2),
    "dtype": lambda module: module.bfloat16(),
    "configuration": lambda module: setattr(module.config, "rms_norm_eps", 0.5),
    "attention": lambda module: module.set_attn_implementation("eager"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_shows(change: str) -> None:
    model = load_model(tiny_llama(blocks=2))
    before = said(model)
    assert said(load_model(tiny_llama(blocks=2))) == before
    CHANGES[change](model.module)
    assert said(model) != before


def test_where_a_model_came_from_does_not() -> None:
    model = load_model(tiny_llama(blocks=2))
    before = said(model)
    model.module.config._name_or_path = "elsewhere"
    model.module.config.use_cache = False
    assert said(model) == before


def test_modules_can_be_left_out() -> None:
    model = load_model(tiny_llama(blocks=3))
    above = model.blocks.modules[1:]
    before = bytes_sha256(model.module, above)
    with torch.no_grad():
        above[0].mlp.up_proj.weight.add_(1)
    assert bytes_sha256(model.module, above) == before
    with torch.no_grad():
        model.blocks.modules[0].mlp.up_proj.weight.add_(1)
    assert bytes_sha256(model.module, above) != before


def test_adapters_that_are_off_or_scaled_are_told_apart() -> None:
    from peft import LoraConfig, get_peft_model

    config = transformers.LlamaConfig(**BASE)
    base = transformers.LlamaForCausalLM(config)
    model = load_model(get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).eval())
    found = [bytes_sha256(model.module)]
    for blocks in ((), (1,), (0, 1)):
        with only_adapters(model, blocks):
            found.append(bytes_sha256(model.module))
    scaled: nn.Module = model.blocks.modules[0].self_attn.q_proj
    scaled.scaling["default"] *= 2
    found.append(bytes_sha256(model.module))
    assert len(set(found)) == len(found)


def test_tokenizers_are_known_by_their_words() -> None:
    one, two = byte_tokenizer(), byte_tokenizer(chat=True)
    assert tokenizer_sha256(None) is None
    assert tokenizer_sha256(one) == tokenizer_sha256(two)
    two.add_tokens(["<new>"])
    assert tokenizer_sha256(one) != tokenizer_sha256(two)

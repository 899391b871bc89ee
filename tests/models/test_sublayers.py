"""Attention and feed-forward halves, found by what they do, in every architecture."""

import pytest
import torch
import transformers
from torch import nn

from conftest import tiny_llama
from cruxlm.models.ablate import Ablation
from cruxlm.models.load import load_model
from cruxlm.models.sublayers import HALVES
from cruxlm.runtime.errors import ModelError
from models.ablated import FIRST_BLOCK, NORM_AFTER, output
from models.architectures import BASE, Case, architectures, built, count_hooks

UNHALVED = {
    "DistilBertModel": "does more than add",
    "BartForConditionalGeneration": "does more than add",
    "ProphetNetForConditionalGeneration": "does more than add",
    "MambaForCausalLM": "of mixer, 1 mix",
    "Mamba2ForCausalLM": "of mixer, 1 mix",
    "FalconMambaForCausalLM": "of mixer, 1 mix",
    "RwkvForCausalLM": "of attention, feed_forward, 2 mix",
}
"""Models whose blocks have no two halves, and what is said of them."""


@architectures
def test_halves(case: Case) -> None:
    model = built(case)
    loaded, whole = load_model(model), output(case, model)
    if case.model in UNHALVED:
        for half in HALVES:
            with pytest.raises(ModelError, match=UNHALVED[case.model]) as caught:
                Ablation(loaded, "identity", half)
            assert loaded.blocks.names[0] in str(caught.value)
        return
    hooked = {half: Ablation(loaded, "identity", half) for half in HALVES}
    zeroing = {half: Ablation(loaded, "zero", half) for half in HALVES}
    for half, ablation in hooked.items():
        for block, name in enumerate(loaded.blocks.names):
            assert ablation.names[block].startswith(f"{name}.")
            with ablation.without(block):
                found = output(case, model)
            with zeroing[half].without(block):
                weights = output(case, model)
            assert (found - whole).abs().max() > 1e-3
            biases = block == 0 and case.model in FIRST_BLOCK and half == "attention"
            if case.model not in NORM_AFTER and not biases:
                assert torch.equal(weights, found), f"{half} {block}"
    # A block without either half is no block.
    with Ablation(loaded).without(1):
        nothing = output(case, model)
    with hooked["attention"].without(1), hooked["feed_forward"].without(1):
        assert torch.equal(output(case, model), nothing)
    assert count_hooks(model) == 0
    assert torch.equal(output(case, model), whole)


@pytest.mark.parametrize(
    ("attention", "feed_forward"),
    [
        ("model.layers.{}.self_attn", "model.layers.{}.mlp"),
        ("transformer.h.{}.attn", "transformer.h.{}.mlp"),
    ],
)
def test_the_halves_are_those_that_a_person_would_name(attention: str, feed_forward: str) -> None:
    model: nn.Module = tiny_llama(blocks=3)
    if attention.startswith("transformer"):
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=61, n_embd=16, n_layer=3, n_head=4)
        ).eval()
    for half, path in (("attention", attention), ("feed_forward", feed_forward)):
        assert Ablation(load_model(model), "zero", half).names == tuple(
            path.format(block) for block in range(3)
        )


def test_a_block_that_is_no_sum_has_no_halves() -> None:
    config = transformers.LlamaConfig(**BASE)
    model = transformers.LlamaForCausalLM(config).eval()
    model.model.layers[1].register_forward_hook(lambda _module, _args, states: 1.01 * states)
    with pytest.raises(ModelError, match=r"model\.layers\.1 does more than add") as caught:
        Ablation(load_model(model), "identity", "attention")
    assert "\n" not in str(caught.value)

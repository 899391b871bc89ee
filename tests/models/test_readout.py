"""States are read by the model's own head."""

import pytest
import torch
import transformers

from conftest import tiny_llama
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.models.readout import read_out
from cruxlm.runtime.errors import ModelError
from plans.twelve import KINDS, made


@pytest.mark.parametrize("kind", [*KINDS])
def test_the_last_states_are_read_as_the_model_reads_them(kind):
    model = load_model(made(kind, num_hidden_layers=2) if kind != "gpt2" else made(kind, n_layer=2))
    held = []
    with Patch() as patch, torch.no_grad():
        patch.watch_output(model.blocks.modules[-1], lambda states: held.append(states[0].clone()))
        logits = model.module(input_ids=torch.tensor([[5, 9, 3, 17]])).logits[0]
    assert torch.allclose(read_out(model, held[0]), logits.float(), atol=1e-4)


def test_oracle():
    module = tiny_llama(blocks=2)
    states = torch.randn(3, module.config.hidden_size, generator=torch.Generator().manual_seed(0))
    oracle = module.lm_head(module.model.norm(states))
    assert torch.allclose(read_out(load_model(module), states), oracle, atol=1e-6)


def test_a_model_without_a_head():
    config = tiny_llama(blocks=2).config
    model = load_model(transformers.AutoModel.from_config(config))
    with pytest.raises(ModelError, match="has no head"):
        read_out(model, torch.zeros(1, config.hidden_size))

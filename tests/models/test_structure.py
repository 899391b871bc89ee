"""A model without its weights has the modules, names, parts and identity of the one with them."""

import json
from dataclasses import replace

import pytest
import torch
from architectures import Case, architectures, built, count_hooks

from cruxlm.models.load import load_model
from cruxlm.models.parts import parts_of
from cruxlm.models.structure import load_structure, stand_ins, weightless
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.lora import is_linear, lora_targets
from cruxlm.plans.make import make_plan
from cruxlm.runtime.errors import ModelError, OptionError


def shapes(module):
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


@architectures
def test_it_is_the_model_but_for_its_weights(case: Case, tmp_path) -> None:
    built(case).save_pretrained(tmp_path)
    # A save and a load change names in some architectures, so the oracle is the loaded model.
    loaded, found = load_model(str(tmp_path)), load_structure(str(tmp_path))
    assert {p.device.type for p in found.module.parameters()} == {"meta"}
    assert type(found.module) is type(loaded.module)
    assert shapes(found.module) == shapes(loaded.module)
    assert found.blocks.names == loaded.blocks.names
    assert found.identity == {"sha256": loaded.identity["sha256"]}
    assert parts_of(found) == parts_of(loaded)
    assert {p.device.type for p in found.module.parameters()} == {"meta"}
    assert count_hooks(found.module) == 0
    plan = make_plan("lora", blocks_of("0,2", loaded.ref), loaded)
    plan.check(found.ref)
    if any(is_linear(part) for part in loaded.blocks.modules[0].modules()):
        assert lora_targets(plan, found) == lora_targets(plan, loaded)


def test_a_change_to_the_weights_is_another_model(llama_folder, tmp_path):
    plan = make_plan(
        "train", blocks_of("1", load_model(llama_folder).ref), load_model(llama_folder)
    )
    plan.check(load_structure(llama_folder).ref)
    module = load_model(llama_folder).module
    with torch.no_grad():
        module.lm_head.weight[0, 0] += 1
    module.save_pretrained(tmp_path)
    with pytest.raises(OptionError, match="made for other weights"):
        plan.check(load_structure(tmp_path).ref)


def test_stand_ins_take_no_memory(llama_folder):
    found = load_structure(llama_folder)
    held = stand_ins(found.blocks)
    assert {"embed_tokens.weight", "norm.weight"} <= set(held)
    assert not any(name.startswith("layers.") for name in held)
    assert {t.untyped_storage().nbytes() for t in held.values() if t.dtype == torch.float32} == {4}
    assert stand_ins(load_model(llama_folder).blocks) == {}
    assert weightless(found.module)
    part = load_model(llama_folder).module
    assert not weightless(part)
    assert not weightless(torch.nn.Module())
    part.model.layers[0].to("meta")
    assert not weightless(part)  # some of it is there
    # Accelerate's hooks bring in what is on a disk.
    found.module.model.layers[0]._hf_hook = object()
    assert not weightless(found.module)


def test_what_is_no_model_is_refused(llama_folder, tmp_path):
    with pytest.raises(ModelError, match="is not a model folder"):
        load_structure("./not-there")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_structure(tmp_path)
    config = json.loads((llama_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "abacus"}))
    (tmp_path / "model.safetensors").write_bytes((llama_folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="cannot load"):
        load_structure(tmp_path)


def test_a_structure_makes_no_scan_up(llama_folder):
    # Zeros stand in only where values do not matter.
    found = replace(load_structure(llama_folder), tokenizer=None)
    with pytest.raises((NotImplementedError, RuntimeError)):
        found.module(input_ids=torch.tensor([[1, 2]])).logits.sum().item()

"""What peft makes of a plan: adapters on exactly its linear maps, with exactly its ranks."""

import re
import sys
import warnings
from dataclasses import replace

import peft
import pytest
import torch
import transformers
from transformers import LlavaConfig, LlavaForConditionalGeneration

from cruxlm.models.load import load_model
from cruxlm.models.parts import parts_of
from cruxlm.plans.apply import trained
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.lora import lora_config, lora_targets
from cruxlm.plans.make import make_plan
from cruxlm.runtime.errors import MissingExtraError, ModelError, OptionError
from plans.twelve import BASE, made, step

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
"""Peft asks transformers for it by its old name."""

MODERN = int(transformers.__version__.partition(".")[0]) >= 5
"""Whether experts are fused into one tensor."""
ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}
MAPS = {
    "llama": ATTENTION | {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    "gemma": ATTENTION | {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    "gpt2": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"},
    "opt": {f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")} | {"fc1", "fc2"},
}


def planned(loaded, text, **options):
    return make_plan("lora", blocks_of(text, loaded.ref), loaded, **options)


def adapted(model, plan, **options):
    """The model with the plan's adapters, and the rank of each adapted map by its full name."""
    config = plan.lora_config(model, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns of what it changes by itself
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = peft.get_peft_model(model, config)
    ranks = {}
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad and ".lora_A." in name:
            ranks[name.removeprefix("base_model.model.").partition(".lora_A.")[0]] = len(parameter)
    return wrapped, ranks


def expected(loaded, blocks, maps):
    return {f"{loaded.blocks.path}.{block}.{name}" for block in blocks for name in maps}


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("text", ["1", "10", "1,10", "last:2", "all"])
def test_exactly_the_planned_maps_are_adapted(kind, text):
    model = made(kind)
    loaded = load_model(model)
    plan = planned(loaded, text, r=3)
    wrapped, ranks = adapted(model, plan)
    assert ranks == dict.fromkeys(expected(loaded, plan.blocks, MAPS[kind]), 3)
    trainable = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    assert len(trainable) == 2 * len(ranks)


def test_ranks_and_alphas_are_those_of_each_block():
    # Where 1 has a rank of its own, a pattern for it must not be one for 10 and 11.
    for kind, spread in (("llama", (2, 7, 7)), ("llama", (7, 2, 3)), ("gpt2", (2, 7, 7))):
        model = made(kind)
        loaded = load_model(model)
        alphas = tuple(2.0 * rank for rank in spread)
        plan = replace(planned(loaded, "1,10,11"), ranks=spread, alphas=alphas)
        wrapped, ranks = adapted(model, plan)
        assert set(ranks) == expected(loaded, (1, 10, 11), MAPS[kind])
        by_block = dict(zip(plan.blocks, plan.ranks, strict=True))
        for name, rank in ranks.items():
            assert rank == by_block[int(re.search(r"\.(\d+)\.", name)[1])]
        scalings = {
            scaling
            for module in wrapped.modules()
            if hasattr(module, "lora_A")
            for scaling in module.scaling.values()
        }
        assert scalings == {2.0}  # one ratio alpha / rank everywhere


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "deepseek"])
@pytest.mark.parametrize("text", ["0", "1,10"])
def test_mixtures_of_experts(kind, text):
    """Peft takes some names for those of experts, and a pattern for a list of endings."""
    model = made(kind)
    loaded = load_model(model)
    plan = planned(loaded, text, r=2)
    targets = lora_targets(plan, loaded)
    held = dict(model.named_parameters())
    parts = parts_of(loaded)
    matrices = {n for block in plan.blocks for n in parts.blocks[block] if held[n].dim() >= 2}
    wrapped, ranks = adapted(model, plan)
    assert set(ranks) == {name for names in targets.maps.values() for name in names}
    blocks = {int(name.split(".")[2]) for name in ranks}
    assert blocks == set(plan.blocks) == set(targets.maps)
    trainable = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert len(trainable) == 2 * len(ranks)
    # Every matrix of the planned blocks is either adapted or said not to be.
    reached = {f"{name}.weight" for name in ranks}
    said = {name if name in matrices else f"{name}.weight" for name in targets.left_out}
    assert reached | said == matrices
    assert not reached & said
    # A dense first block has none.
    experts = MODERN and not (kind == "deepseek" and text == "0")
    assert any("experts" in name for name in said) == experts
    assert ("experts" in str(targets)) == experts


def test_what_is_left_out_is_said_without_numbers():
    loaded = load_model(made("mixtral"))
    targets = lora_targets(planned(loaded, "1,10"), loaded)
    if MODERN:
        assert str(targets) == (
            "not adapted, and frozen: model.layers.*.mlp.experts.down_proj, "
            "model.layers.*.mlp.experts.gate_up_proj, model.layers.*.mlp.gate.weight"
        )
    llama = load_model(made("llama"))
    assert str(lora_targets(planned(llama, "1"), llama)) == ""


def test_some_of_the_maps():
    model = made("llama")
    loaded = load_model(model)
    plan = planned(loaded, "1,10")
    _, ranks = adapted(model, plan, modules=["q_proj", "self_attn.v_proj"])
    assert set(ranks) == expected(loaded, (1, 10), {"self_attn.q_proj", "self_attn.v_proj"})
    fresh = load_model(made("llama"))
    with pytest.raises(OptionError, match="no linear map 'qproj' in blocks 1, 10: did you mean"):
        lora_config(plan, fresh, modules=["qproj"])
    for wrong in ("proj", "norm", "input_layernorm", ""):  # no map's name, or the end of a word
        with pytest.raises(OptionError, match="no linear map"):
            lora_config(plan, fresh, modules=["q_proj", wrong])


def test_a_map_that_one_block_lacks():
    loaded = load_model(made("deepseek"))
    if MODERN:
        with pytest.raises(OptionError, match="no linear map 'gate_proj'"):
            lora_targets(planned(loaded, "0,1"), loaded, ["gate_proj"])
    else:
        assert set(lora_targets(planned(loaded, "0,1"), loaded, ["gate_proj"]).maps) == {0, 1}


def test_maps_that_peft_refuses_are_left_out():
    model = made("mamba")
    loaded = load_model(model)
    plan = planned(loaded, "1,10")
    assert "out_proj" in str(lora_targets(plan, loaded))
    _, ranks = adapted(model, plan)
    assert {name.split(".")[2] for name in ranks} == {"1", "10"}
    assert not any(name.endswith("out_proj") for name in ranks)


def test_a_vision_tower_is_not_adapted():
    text = {k: v for k, v in BASE.items() if not k.endswith("token_id")}
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 12,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 16,
    }  # fmt: skip
    config = LlavaConfig(
        text_config={**text, "model_type": "llama"},
        vision_config={**vision, "model_type": "clip_vision_model"},
    )
    model = LlavaForConditionalGeneration(config)
    loaded = load_model(model)
    _, ranks = adapted(model, planned(loaded, "1,10", r=2))
    assert set(ranks) == expected(loaded, (1, 10), MAPS["llama"])


def test_a_tower_that_is_the_model():
    model = made("llama").model
    loaded = load_model(model)
    assert loaded.blocks.names[1] == "layers.1"
    _, ranks = adapted(model, planned(loaded, "1", r=2))
    assert set(ranks) == {f"layers.1.{name}" for name in MAPS["llama"]}
    # Peft would take the norms of all blocks, whose names end in the last norm's.
    with pytest.raises(ModelError, match=r"peft would adapt layers\.0\.\w+norm too"):
        lora_config(
            planned(load_model(made("llama").model), "1", parts=("norm",)), made("llama").model
        )


@pytest.mark.parametrize(
    "parts", [("embeddings",), ("norm", "head"), ("embeddings", "norm", "head")]
)
def test_parts_are_trained_as_copies(parts):
    model = made("llama")
    loaded = load_model(model)
    held = parts_of(loaded)
    sizes = {part: held.count(getattr(held, part)) for part in parts}
    wrapped, ranks = adapted(model, planned(loaded, "10", r=2, parts=parts))
    assert {name.split(".")[2] for name in ranks} == {"10"}
    report = trained(loaded, held)
    assert report.parts == sizes
    assert list(report.blocks) == [10]
    assert report.count == sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert report.total == sum(p.numel() for p in wrapped.parameters())


def test_tied_embeddings_stay_tied():
    model = made("gemma")
    loaded = load_model(model)
    held = parts_of(loaded)
    wrapped, _ = adapted(model, planned(loaded, "10", r=2, parts=("embeddings",)))
    copies = {
        id(p)
        for name, p in wrapped.named_parameters(remove_duplicate=False)
        if p.requires_grad and "lora" not in name
    }
    assert len(copies) == 1
    assert trained(loaded, held).parts == {"embeddings": 61 * 16}
    # One step moves what goes in and what comes out alike.
    step(wrapped).backward()
    torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.1).step()
    inner = wrapped.get_base_model()
    new, old = (inner.get_input_embeddings().weight, made("gemma").get_input_embeddings().weight)
    assert not torch.equal(new, old)
    assert torch.equal(inner.get_output_embeddings().weight, new)


def test_tied_embeddings_that_peft_cannot_tie_are_refused():
    loaded = load_model(made("gpt2"))
    with pytest.raises(OptionError, match="the embeddings are the head's matrix too"):
        lora_config(planned(loaded, "1", parts=("embeddings",)), loaded)
    with pytest.raises(OptionError, match="the head is the matrix of the embeddings"):
        lora_config(planned(loaded, "1", parts=("head",)), loaded)


def test_only_the_adapters_change():
    for kind in ("llama", "gpt2", "mixtral"):
        model = made(kind)
        loaded = load_model(model)
        wrapped, _ = adapted(model, planned(loaded, "1,10", r=2))
        before = {name: p.clone() for name, p in wrapped.named_parameters()}
        step(wrapped, batch=4, tokens=24).backward()
        torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.1).step()
        changed = {n for n, p in wrapped.named_parameters() if not torch.equal(before[n], p)}
        assert changed
        assert all(re.search(r"\.(1|10)\..*\.lora_B\.", name) for name in changed)  # A waits for B


def test_an_adapter_comes_back_from_disk(tmp_path):
    model = made("llama")
    wrapped, ranks = adapted(model, planned(load_model(model), "1,10", r=2))
    for name, parameter in wrapped.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter)
    wrapped.save_pretrained(tmp_path)
    loss = step(wrapped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = peft.PeftModel.from_pretrained(made("llama"), tmp_path)
    assert torch.equal(step(again), loss)
    assert {n.split(".")[4] for n, _ in again.named_parameters() if "lora_A" in n} == {"1", "10"}
    assert len(ranks) == 14


def test_settings_reach_peft():
    model = made("gpt2")
    config = lora_config(planned(load_model(model), "1", r=5, alpha=3.0), model, dropout=0.25)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (5, 3.0, 0.25)
    assert config.fan_in_fan_out is True
    assert config.task_type == "CAUSAL_LM"
    plain = load_model(made("llama").model)
    assert lora_config(planned(plain, "1"), plain).task_type is None


def test_plans_for_something_else_are_refused():
    loaded = load_model(made("llama"))
    train = make_plan("train", blocks_of("1", loaded.ref), loaded)
    with pytest.raises(OptionError, match="a plan to train blocks has no adapters"):
        train.lora_config(loaded)
    with pytest.raises(OptionError, match="the plan was made for other weights"):
        planned(loaded, "1").lora_config(made("llama", seed=1))


def test_blocks_without_linear_maps_are_refused():
    (model := made("llama")).model.layers[10] = torch.nn.Identity()
    loaded = load_model(model)
    with pytest.raises(ModelError, match="block 10: no linear map"):
        lora_targets(planned(loaded, "1,10"), loaded)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    loaded = load_model(made("llama"))
    with pytest.raises(MissingExtraError, match=r"pip install 'cruxlm\[train\]'"):
        planned(loaded, "1").lora_config(loaded)

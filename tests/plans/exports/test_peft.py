"""The ``LoraConfig`` that is written makes peft train exactly the planned adapters."""

import warnings

import peft
import pytest

from cruxlm.models.parts import parts_of
from cruxlm.plans.exports.export import planned, write
from cruxlm.plans.lora import reached
from cruxlm.runtime.errors import MissingExtraError, OptionError
from plans.exports.carried_out import (
    HOSTILE,
    KINDS,
    MODERN,
    adapters,
    executed,
    exported,
    linear,
    plan_of,
)
from plans.exports.evidence import record
from plans.twelve import made

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
"""Peft asks transformers for it by its old name."""


def wrapped(kind, text):
    config = executed(text)["peft_config"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns of what it changes by itself
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(made(kind), config)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(kind):
    for text in ("1", "1,10", "all"):
        found = adapters(wrapped(kind, exported("peft", kind, "lora", text, r=3).text))
        blocks = range(12) if text == "all" else list(map(int, text.split(",")))
        assert found == dict.fromkeys(linear(made(kind), blocks), 3)
    record("peft", "lora", kind, f"peft {peft.__version__}")


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_of_their_own(kind):
    text = exported("peft", kind, "lora", "1,10,11", ranks=(2, 7, 7)).text
    found = adapters(wrapped(kind, text))
    expected = dict.fromkeys(linear(made(kind), (1,)), 2)
    assert found == expected | dict.fromkeys(linear(made(kind), (10, 11)), 7)
    assert executed(text)["peft_config"].layers_to_transform == [1, 10, 11]
    record("peft", "lora", kind, f"peft {peft.__version__}")


def test_names_are_short_where_that_is_exact():
    config = executed(exported("peft", "llama", "lora").text)["peft_config"]
    assert config.layers_to_transform == [1, 10]
    assert config.layers_pattern == "layers"
    assert "q_proj" in config.target_modules
    # GPT-2 has a c_proj in either half; half of them is said by the half's name.
    text = exported("peft", "gpt2", "lora", modules=["attn.c_proj"]).text
    assert executed(text)["peft_config"].target_modules == {"attn.c_proj"}
    assert set(adapters(wrapped("gpt2", text))) == {
        "transformer.h.1.attn.c_proj",
        "transformer.h.10.attn.c_proj",
    }


def test_names_are_whole_where_blocks_differ():
    # Its first block is dense, the others are mixtures with shared experts.
    text = exported("peft", "deepseek", "lora", "0,1").text
    config = executed(text)["peft_config"]
    if MODERN:
        assert config.layers_to_transform == [0, 1]  # the same maps are left of both
    else:
        assert config.layers_to_transform is None
        assert all(name.startswith("model.layers.") for name in config.target_modules)
    loaded, plan = plan_of("deepseek", "lora", "0,1")
    names = {name for held in planned(plan, loaded).maps.values() for name in held}
    assert set(adapters(wrapped("deepseek", text))) == names


def test_another_list_of_the_same_name_makes_names_whole():
    # A second list "layers" beside the blocks: short names would reach it too.
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    from cruxlm.models.load import load_model
    from cruxlm.plans.grammar import blocks_of
    from cruxlm.plans.make import make_plan
    from plans.twelve import BASE

    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 12,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 16,
    }  # fmt: skip
    text = {k: v for k, v in BASE.items() if not k.endswith("token_id")}
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config={**text, "model_type": "llama"},
            vision_config={**vision, "model_type": "clip_vision_model"},
        )
    )
    loaded = load_model(model)
    made_plan = planned(make_plan("lora", blocks_of("1,10", loaded.ref), loaded), loaded)
    config = executed(write(made_plan, "peft").text)["peft_config"]
    found = adapters(peft.get_peft_model(model, config))
    path = loaded.blocks.path
    assert len(found) == 14
    assert all(name.startswith((f"{path}.1.", f"{path}.10.")) for name in found)


@pytest.mark.skipif(not MODERN, reason="experts are modules of their own before transformers 5")
def test_why_no_expression_is_written():
    """For a mixture peft takes the last words of what an expression matches: every block."""
    loaded, plan = plan_of("mixtral", "lora")
    names = {name for held in planned(plan, loaded).maps.values() for name in held}
    pattern = r"^model\.layers\.(1|10)\.self_attn\.(q|k|v|o)_proj$"
    config = peft.LoraConfig(target_modules=pattern)
    told = reached(config, loaded.module)
    assert told > names
    assert config.target_modules == pattern  # asking changes nothing
    assert set(adapters(peft.get_peft_model(made("mixtral"), config))) == told


def test_parts_beside_adapters():
    for kind, parts in (("llama", ("norm", "head")), ("gemma", ("embeddings",))):
        loaded, plan = plan_of(kind, "lora", r=2, parts=parts)
        held = parts_of(loaded)
        expected = {n.rpartition(".")[0] for part in parts for n in getattr(held, part)}
        model = wrapped(kind, write(planned(plan, loaded), "peft").text)
        copies = {
            name.removeprefix("base_model.model.").partition(".modules_to_save.")[0]
            for name, p in model.named_parameters()
            if p.requires_grad and "lora_" not in name
        }
        assert copies == expected
    with pytest.raises(OptionError, match="the embeddings are the head's matrix too"):
        exported("peft", "gpt2", "lora", parts=("embeddings",))


def test_what_no_adapter_can_be_put_on_is_said():
    if MODERN:
        (note,) = exported("peft", "mixtral", "lora").notes
        assert note.startswith("not adapted, and frozen: model.layers.*.mlp.experts")
    assert exported("peft", "llama", "lora").notes == ()


def test_alphas_are_written_as_they_are():
    text = exported("peft", "llama", "lora", r=3, alpha=4.5).text
    assert executed(text)["peft_config"].lora_alpha == 4.5
    assert "lora_alpha=6," in exported("peft", "llama", "lora", r=3).text


def test_a_hostile_name_stays_a_comment():
    from dataclasses import replace

    loaded, plan = plan_of("llama", "lora")
    plain = executed(write(planned(plan, loaded), "peft").text)["peft_config"]
    plan = replace(plan, model=HOSTILE, why=HOSTILE)
    text = write(planned(plan, loaded), "peft").text
    assert executed(text)["peft_config"].to_dict() == plain.to_dict()
    assert text.isprintable() or set(text) - set(filter(str.isprintable, text)) == {"\n"}


def test_without_peft_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cruxlm\[train\]'"):
        exported("peft", "llama", "lora")

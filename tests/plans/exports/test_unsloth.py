"""Unsloth's rule, restated: its own package is imported on a GPU only.

Read in unsloth 2026.10.9, ``models/llama.py: FastLlamaModel.get_peft_model``.
"""

import sys
from types import ModuleType, SimpleNamespace

import peft
import pytest

from cruxlm.plans.exports.registry import TARGETS
from cruxlm.runtime.errors import OptionError
from plans.exports.carried_out import KINDS, MODERN, adapters, executed, exported, linear
from plans.exports.evidence import record
from plans.twelve import made

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
HOW = "its matching rule, restated (unsloth 2026.10.9)"
BROAD = {"gate_proj", "up_proj", "down_proj"}


def get_peft_model(
    model, r=16, target_modules=("q_proj",), lora_alpha=16, lora_dropout=0.0, bias="none",
    layers_to_transform=None, layers_pattern=None, modules_to_save=None, target_parameters=None,
):  # fmt: skip
    """What becomes of the arguments: a ``LoraConfig``, and the experts of a mixture besides."""
    if type(r) is not int:
        raise TypeError("the rank must be an integer")
    experts = {
        name.partition("layers.")[2].partition(".")[2]
        for name, _ in model.named_parameters()
        if name.endswith((".experts.gate_up_proj", ".experts.down_proj"))
    }
    if set(target_modules) & BROAD and experts:
        target_parameters = sorted(experts)
    config = peft.LoraConfig(
        r=r, lora_alpha=lora_alpha, target_modules=list(target_modules), bias=bias,
        lora_dropout=lora_dropout, task_type="CAUSAL_LM", layers_to_transform=layers_to_transform,
        layers_pattern=layers_pattern, modules_to_save=modules_to_save,
        target_parameters=target_parameters,
    )  # fmt: skip
    return peft.get_peft_model(model, config)


@pytest.fixture
def unsloth(monkeypatch):
    module = ModuleType("unsloth")
    module.FastLanguageModel = SimpleNamespace(get_peft_model=get_peft_model)
    monkeypatch.setitem(sys.modules, "unsloth", module)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(unsloth, kind):
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    every = not MODERN and kind in ("mixtral", "qwen3_moe")
    modules = attention if every else None
    for text, blocks in (("1", (1,)), ("1,10", (1, 10))):
        export = exported("unsloth", kind, "lora", text, modules=modules, r=3, alpha=5.0)
        model = executed(export.text)["with_adapters"](made(kind))
        maps = linear(made(kind), blocks)
        if every:
            maps = {name for name in maps if name.rpartition(".")[2] in attention}
        assert adapters(model) == dict.fromkeys(maps, 3)
        layers = [m for m in model.modules() if hasattr(m, "lora_A")]
        scalings = {scale for layer in layers for scale in layer.scaling.values()}
        assert scalings == {5 / 3}
    record("unsloth", "lora", kind, HOW)


def test_what_it_cannot_be_told_is_refused():
    with pytest.raises(OptionError, match=r"unsloth takes one rank for all blocks.*export it to"):
        exported("unsloth", "llama", "lora", ranks=(2, 7))
    with pytest.raises(OptionError, match="by rules of its own: plan without, or export to peft"):
        exported("unsloth", "llama", "lora", parts=("norm",))
    for action in ("train", "freeze", "drop"):
        reason = TARGETS.get("unsloth").refusals[action]
        with pytest.raises(OptionError, match="unsloth cannot") as refused:
            exported("unsloth", "llama", action)
        assert reason in str(refused.value)


@pytest.mark.skipif(MODERN, reason="no map beside fused experts is called so")
def test_names_of_experts_are_refused():
    # It would put adapters on experts as a whole, which the plan does not name.
    with pytest.raises(OptionError, match=r"unsloth puts adapters on all experts.*--modules"):
        exported("unsloth", "qwen3_moe", "lora")

"""What LLaMA-Factory makes of its settings file: by its rules, restated, and by its own functions.

Read in llamafactory 0.9.5: ``model/adapter.py``, ``hparams/finetuning_args.py``. Its own functions
import beside trl 0.24 or older, with ``DISABLE_VERSION_CHECK=1``.
"""

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import peft
import pytest
import yaml

from cruxlm.plans.exports.export import planned, write
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.runtime.errors import OptionError
from plans.exports.carried_out import (
    HOSTILE,
    KINDS,
    MODERN,
    adapters,
    exported,
    linear,
    parameters,
    plan_of,
    trainable,
)
from plans.exports.evidence import record
from plans.twelve import made

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out"),  # peft finds it out itself
]
RESTATED = "its matching rule, restated (llamafactory 0.9.5)"
ENDS_ONLY = "; first or last n blocks"
"""What its freeze tuning can be told."""


def tune(model, text):
    """Freeze tuning finds parts of names, adapters get a list of names split at commas."""
    told = yaml.safe_load(text)
    assert told.pop("model_name_or_path")
    told.pop("model_revision", None)
    kind = told.pop("finetuning_type")
    if kind == "lora":
        given = {
            "r": told.pop("lora_rank"),
            "lora_alpha": told.pop("lora_alpha"),
            "target_modules": [name.strip() for name in told.pop("lora_target").split(",")],
            "modules_to_save": told.pop("additional_target", None),
        }
        if given["modules_to_save"]:
            given["modules_to_save"] = given["modules_to_save"].split(",")
        assert not told
        return peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **given))
    assert kind == "freeze"
    count, blocks = told.pop("freeze_trainable_layers"), range(model.config.num_hidden_layers)
    parts = [f".{block}." for block in (blocks[-count:] if count > 0 else blocks[:-count])]
    parts += [part for part in told.pop("freeze_extra_modules", "").split(",") if part]
    assert told == {"freeze_trainable_modules": "all"}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in parts))
    return model


def own_functions(tmp_path, monkeypatch):
    """LLaMA-Factory's own, from the file on."""
    adapter = pytest.importorskip("llamafactory.model.adapter", exc_type=ImportError)
    from importlib.metadata import version

    from llamafactory.hparams import FinetuningArguments, ModelArguments
    from llamafactory.hparams.parser import read_args
    from transformers import HfArgumentParser

    def tuned(model, text):
        path = tmp_path / "llama-factory.yml"
        path.write_text(text, "utf-8")
        monkeypatch.setattr(sys, "argv", ["llamafactory-cli", str(path)])
        parser = HfArgumentParser([ModelArguments, FinetuningArguments])
        given, how = parser.parse_dict(read_args())
        return adapter.init_adapter(model.config, model, given, how, is_trainable=True)

    return SimpleNamespace(tune=tuned, how=f"llamafactory {version('llamafactory')}")


@pytest.fixture(params=["restated", "own"])
def tool(request, tmp_path, monkeypatch):
    if request.param == "own":
        return own_functions(tmp_path, monkeypatch)
    return SimpleNamespace(tune=tune, how=RESTATED)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_adapters(tool, kind):
    for text, blocks in (("1", {1}), ("1,10", {1, 10})):
        export = exported("llama-factory", kind, "lora", text, r=3, alpha=5)
        model = tool.tune(made(kind), export.text)
        assert adapters(model) == dict.fromkeys(linear(made(kind), blocks), 3)
        layers = [m for m in model.modules() if hasattr(m, "lora_A")]
        assert {scale for layer in layers for scale in layer.scaling.values()} == {5 / 3}
    record("llama-factory", "lora", kind, tool.how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("action", "text", "layers", "blocks"),
    [
        ("train", "last:2", 2, {10, 11}),
        ("train", "first:2", -2, {0, 1}),
        ("train", "all", 12, set(range(12))),
        ("freeze", "first:11", 1, {11}),
        ("freeze", "last:10", -2, {0, 1}),
    ],
)
def test_exactly_the_planned_parameters(tool, kind, action, text, layers, blocks):
    if not MODERN and kind in ("mixtral", "qwen3_moe") and layers == -2:
        # `.1.` is expert 1 of every block too, where experts are modules.
        with pytest.raises(OptionError, match=r"LLaMA-Factory would train .*\.experts\."):
            exported("llama-factory", kind, action, text)
        return
    export = exported("llama-factory", kind, action, text)
    assert yaml.safe_load(export.text)["freeze_trainable_layers"] == layers
    model = made(kind)
    tool.tune(model, export.text)
    assert trainable(model) == parameters(model, blocks)
    record("llama-factory", action, kind, tool.how + ENDS_ONLY)


@pytest.mark.parametrize(
    ("kind", "parts", "beside"),
    [
        ("llama", ("head",), {"lm_head.weight"}),
        ("gemma", ("embeddings",), {"model.embed_tokens.weight"}),  # which are the head's too
        ("gpt2", ("embeddings", "norm"), {"transformer.wte.weight", "transformer.wpe.weight",
                                          "transformer.ln_f.weight", "transformer.ln_f.bias"}),
    ],
)  # fmt: skip
def test_parts_beside_blocks(tool, kind, parts, beside):
    model = made(kind)
    tool.tune(model, exported("llama-factory", kind, "train", "last:1", parts=parts).text)
    assert trainable(model) - parameters(model, {11}) == beside


def test_parts_beside_adapters(tool):
    export = exported("llama-factory", "llama", "lora", "10", r=2, parts=("norm", "head"))
    names = trainable(tool.tune(made("llama"), export.text))
    beside = {name.removeprefix("base_model.model.") for name in names if "lora_" not in name}
    assert beside == {
        "lm_head.modules_to_save.default.weight",
        "model.norm.modules_to_save.default.weight",
    }


def test_a_short_name_would_adapt_every_block():
    export = exported("llama-factory", "llama", "lora", "1", r=3)
    short = re.sub(r"model\.layers\.1\.\w+\.", "", export.text)
    assert short != export.text
    assert set(adapters(tune(made("llama"), short))) == linear(made("llama"), range(12))


def test_what_it_cannot_be_told_is_refused():
    refused = [
        (("train", "1,10"), {}, r"cannot train just these blocks: .*transformers export"),
        (("freeze", "1"), {}, r"cannot train just these blocks: .*first:n or last:n"),
        # `norm` is also a part of the names of every block's norms.
        (("train", "last:1"), {"parts": ("norm",)}, r"would train model\.layers\.0\.input_layern"),
        (("lora",), {"ranks": (2, 7)}, r"takes one rank for all blocks.*axolotl"),
        (("lora",), {"r": 2, "alpha": 4.5}, r"takes a whole alpha, not 4\.5"),
    ]
    for plan, options, said in refused:
        with pytest.raises(OptionError, match=rf"LLaMA-Factory {said}"):
            exported("llama-factory", "llama", *plan, **options)
    with pytest.raises(OptionError, match=r"no longer the head's matrix: leave embeddings out"):
        exported("llama-factory", "gemma", "lora", parts=("embeddings",))
    with pytest.raises(OptionError, match=r"llama-factory cannot drop blocks"):
        exported("llama-factory", "llama", "drop")
    assert set(TARGETS.get("llama-factory").refusals) == {"drop"}


def test_a_revision_is_pinned():
    loaded, plan = plan_of("llama", "lora")
    loaded = replace(loaded, name="owner/name", identity={**loaded.identity, "revision": "abc"})
    settings = yaml.safe_load(write(planned(plan, loaded), "llama-factory").text)
    assert settings["model_name_or_path"] == "owner/name"
    assert settings["model_revision"] == "abc"


def test_a_hostile_name_is_a_value(tool):
    loaded, plan = plan_of("llama", "lora")
    plain = yaml.safe_load(write(planned(plan, loaded), "llama-factory").text)
    plan, loaded = replace(plan, model=HOSTILE, why=HOSTILE), replace(loaded, name=HOSTILE)
    text = write(planned(plan, loaded), "llama-factory").text
    assert yaml.safe_load(text) == {**plain, "model_name_or_path": HOSTILE}
    assert adapters(tool.tune(made("llama"), text))
    with pytest.raises(OptionError, match="as a reference: rename"):
        write(planned(plan, replace(loaded, name="./${x")), "llama-factory")

"""What axolotl makes of its settings file: by its rules, restated, and by its own functions.

Read in axolotl 0.19.0: ``utils/freeze.py``, ``loaders/adapter.py`` and ``utils/schemas``. Where the
package can be imported, its own functions take the same files.
"""

import re
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
    adapters,
    exported,
    linear,
    parameters,
    plan_of,
    trainable,
)
from plans.exports.evidence import record
from plans.twelve import made

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
RESTATED = "its matching rule, restated (axolotl 0.19.0)"
REQUIRED = {
    "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_epochs": 1,
    "learning_rate": 1e-4,
}
"""What a user adds."""


def unfreeze(model, patterns):
    """A dot is a dot, unless a plus follows it; a pattern holds from the beginning of a name."""
    held = []
    for pattern in patterns:
        dots = (r"\." if c == "." and pattern[i + 1 : i + 2] != "+" else c
                for i, c in enumerate(pattern))  # fmt: skip
        held.append(re.compile("".join(dots)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(pattern.match(name) for pattern in held))


def adapt(model, told):
    """The ``LoraConfig`` that is made of the keys; a key that it does not know is an error."""
    told = dict(told)
    names = {
        "r": "lora_r",
        "lora_alpha": "lora_alpha",
        "target_modules": "lora_target_modules",
        "layers_to_transform": "peft_layers_to_transform",
        "layers_pattern": "peft_layers_pattern",
        "fan_in_fan_out": "lora_fan_in_fan_out",
        "modules_to_save": "lora_modules_to_save",
    }
    given = {name: told.pop(key, None) for name, key in names.items()}
    optional = {"rank_pattern": "lora_rank_pattern", "alpha_pattern": "lora_alpha_pattern",
                "ensure_weight_tying": "peft_ensure_weight_tying"}  # fmt: skip
    given |= {name: told.pop(key) for name, key in optional.items() if key in told}
    assert told == {"base_model": told["base_model"], "adapter": "lora"}
    return peft.get_peft_model(model, peft.LoraConfig(**given, bias="none", task_type="CAUSAL_LM"))


def own_functions():
    """Axolotl's own, with what says that they are; its schema reads the file first."""
    freeze = pytest.importorskip("axolotl.utils.freeze", exc_type=ImportError)
    adapter = pytest.importorskip("axolotl.loaders.adapter", exc_type=ImportError)
    from importlib.metadata import version

    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig

    def read(told):
        held = AxolotlInputConfig(**told, **REQUIRED).model_dump(exclude_none=True)
        assert {key: held[key] for key in told} == told
        return DictDefault(held)

    def adapted(model, told):
        return adapter.load_lora(model, read(told))[0]

    def unfrozen(model, patterns):
        read({"base_model": "x", "unfrozen_parameters": patterns})
        freeze.freeze_layers_except(model, patterns)

    return SimpleNamespace(unfreeze=unfrozen, adapt=adapted, how=f"axolotl {version('axolotl')}")


@pytest.fixture(params=["restated", "own"])
def tool(request):
    if request.param == "own":
        return own_functions()
    return SimpleNamespace(unfreeze=unfreeze, adapt=adapt, how=RESTATED)


def told(*plan, **options):
    return yaml.safe_load(exported("axolotl", *plan, **options).text)


@pytest.mark.parametrize(
    ("pattern", "name", "held"),
    [
        ("^model.layers.1.", "model.layers.1.mlp.up_proj.weight", True),
        ("^model.layers.1.", "model.layers.10.mlp.up_proj.weight", False),
        ("^model.layers.1", "model.layers.10.mlp.up_proj.weight", True),  # why the dot is there
        (r"^model\.layers\.1\.", "model.layers.1.mlp.up_proj.weight", False),  # escaped twice
        ("layers.1.", "model.layers.1.mlp.up_proj.weight", False),  # from the beginning
        ("^model.layers.[0-9]+.mlp.+$", "model.layers.10.mlp.up_proj.weight", True),
        ("^model.norm.weight$", "model.norm.weight", True),
        ("^model.norm.weight$", "model.norm.weights", False),
    ],
)
def test_its_rule(tool, pattern, name, held):
    import torch

    class Named(torch.nn.Module):
        def named_parameters(self, *args, **options):
            return iter([(name, parameter)])

    parameter = torch.nn.Parameter(torch.zeros(1))
    tool.unfreeze(Named(), [pattern])
    assert parameter.requires_grad == held


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(tool, kind):
    for action in ("train", "freeze"):
        for text, named in (("1", {1}), ("1,10", {1, 10}), ("0-10", set(range(11)))):
            settings = told(kind, action, text)
            assert set(settings) == {"base_model", "unfrozen_parameters"}
            model = made(kind)
            tool.unfreeze(model, settings["unfrozen_parameters"])
            blocks = named if action == "train" else set(range(12)) - named
            assert trainable(model) == parameters(model, blocks)
        record("axolotl", action, kind, tool.how)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_adapters(tool, kind):
    for text, ranks in (("1", (3,)), ("1,10", (3, 3)), ("1,10,11", (2, 7, 7))):
        settings = told(kind, "lora", text, ranks=ranks)
        blocks = dict(zip(map(int, text.split(",")), ranks, strict=True))
        assert settings["peft_layers_to_transform"] == list(blocks)
        found = adapters(tool.adapt(made(kind), settings))
        expected = {name: r for b, r in blocks.items() for name in linear(made(kind), {b})}
        assert found == expected
    record("axolotl", "lora", kind, tool.how)


@pytest.mark.parametrize(
    ("kind", "parts", "beside"),
    [
        ("llama", ("norm", "head"), {"model.norm.weight", "lm_head.weight"}),
        ("gemma", ("embeddings",), {"model.embed_tokens.weight"}),  # which are the head's too
        ("gpt2", ("embeddings",), {"transformer.wte.weight", "transformer.wpe.weight"}),
    ],
)
def test_parts_beside_blocks(tool, kind, parts, beside):
    model = made(kind)
    tool.unfreeze(model, told(kind, "train", "10", parts=parts)["unfrozen_parameters"])
    assert trainable(model) - parameters(model, {10}) == beside


def test_parts_beside_adapters(tool):
    settings = told("llama", "lora", "10", r=2, parts=("norm", "head"))
    assert settings["lora_modules_to_save"] == ["lm_head", "model.norm"]
    names = trainable(tool.adapt(made("llama"), settings))
    beside = {name.removeprefix("base_model.model.") for name in names if "lora_" not in name}
    assert beside == {
        "lm_head.modules_to_save.default.weight",
        "model.norm.modules_to_save.default.weight",
    }


def test_tied_embeddings_beside_adapters_stay_tied(tool):
    model = tool.adapt(made("gemma"), told("gemma", "lora", "10", r=2, parts=("embeddings",)))
    held = model.base_model.model
    table = held.model.embed_tokens.modules_to_save["default"].weight
    head = getattr(held.lm_head, "modules_to_save", {"default": held.lm_head})["default"].weight
    assert table.requires_grad
    assert table.data_ptr() == head.data_ptr()


def test_a_revision_is_pinned():
    loaded, plan = plan_of("llama", "train")
    loaded = replace(loaded, name="owner/name", identity={**loaded.identity, "revision": "abc"})
    settings = yaml.safe_load(write(planned(plan, loaded), "axolotl").text)
    assert settings["base_model"] == "owner/name"
    assert settings["revision_of_model"] == "abc"


@pytest.mark.parametrize("action", ["train", "lora"])
def test_a_hostile_name_is_a_value(action):
    loaded, plan = plan_of("llama", action)
    plain = yaml.safe_load(write(planned(plan, loaded), "axolotl").text)
    plan, loaded = replace(plan, model=HOSTILE, why=HOSTILE), replace(loaded, name=HOSTILE)
    text = write(planned(plan, loaded), "axolotl").text
    assert yaml.safe_load(text) == {**plain, "base_model": HOSTILE}
    assert set(text) - set(filter(str.isprintable, text)) == {"\n"}


def test_what_it_cannot_be_told_is_refused():
    with pytest.raises(OptionError, match=r"axolotl takes a whole alpha, not 4\.5"):
        exported("axolotl", "llama", "lora", r=3, alpha=4.5)
    with pytest.raises(OptionError, match=r"axolotl cannot drop blocks: .*`crux drop`"):
        exported("axolotl", "llama", "drop")
    assert set(TARGETS.get("axolotl").refusals) == {"drop"}


def test_a_model_without_a_head_is_refused():
    from cruxlm.models.load import load_model
    from cruxlm.plans.grammar import blocks_of
    from cruxlm.plans.make import make_plan

    loaded = load_model(made("llama").model)
    plan = make_plan("train", blocks_of("1", loaded.ref), loaded)
    with pytest.raises(OptionError, match="LlamaModel has no head"):
        write(planned(plan, loaded), "axolotl")


def test_a_name_that_no_tool_knows_is_said():
    loaded, plan = plan_of("llama", "train")
    for name in ("LlamaForCausalLM", "testbed:stars"):
        held = replace(loaded, name=name)
        (note,) = write(planned(plan, held), "axolotl").notes
        assert note.startswith(f"put the folder of the model in the place of {name}")
    # A live model may not know where it is from; the plan does.
    export = write(planned(replace(plan, model="./model"), loaded), "axolotl")
    assert yaml.safe_load(export.text)["base_model"] == "./model"
    assert export.notes == ()

"""What ms-swift makes of its settings file: by its rules, restated, and by its own functions.

Read in ms-swift 4.6.0: ``cli/main.py``, ``pipelines/train/tuner.py``,
``utils/transformers_utils.py``. It wants older transformers and peft, so an environment of its own.
"""

import argparse
import re
from dataclasses import dataclass, replace
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
RESTATED = "its matching rule, restated (ms-swift 4.6.0)"


def arguments(text):
    """Every key is an argument, every item of a list one word after it."""
    argv = []
    for key, value in yaml.safe_load(text).items():
        argv.append(f"--{key}")
        argv += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return argv


def tune(model, text):
    """All frozen by the ratio, then let go by what is found anywhere in a name; or adapters."""
    parser = argparse.ArgumentParser()
    for name in ("model", "model_revision", "use_hf", "tuner_type", "trainable_parameters_regex"):
        parser.add_argument(f"--{name}")
    numbers = {"freeze_parameters_ratio": float, "lora_rank": int, "lora_alpha": float}
    for name, kind in numbers.items():
        parser.add_argument(f"--{name}", type=kind)
    for name in ("target_modules", "modules_to_save"):
        parser.add_argument(f"--{name}", nargs="+", default=[])
    told = parser.parse_args(arguments(text))
    if told.tuner_type == "lora":
        config = peft.LoraConfig(
            r=told.lora_rank, lora_alpha=told.lora_alpha, target_modules=told.target_modules,
            modules_to_save=told.modules_to_save, lora_dropout=0.05, bias="none",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        return peft.get_peft_model(model, config)
    assert told.tuner_type == "full"
    left = (1 - told.freeze_parameters_ratio) * sum(p.numel() for p in model.parameters())
    assert left == 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(bool(re.search(told.trainable_parameters_regex, name)))
    return model


def own_functions(tmp_path):
    """Ms-swift's own, from the file on; the rest of its arguments as for a text model."""
    tuner = pytest.importorskip("swift.pipelines.train.tuner", exc_type=ImportError)
    from importlib.metadata import version

    from swift.arguments.tuner_args import TunerArguments
    from swift.cli.main import parse_yaml_args
    from transformers import HfArgumentParser

    @dataclass
    class Arguments(TunerArguments):
        model: str = ""
        model_revision: str = ""
        use_hf: bool = False
        tuner_type: str = "lora"

        model_meta = SimpleNamespace(is_multimodal=False, model_arch=None)
        task_type, tuner_backend = "causal_lm", "peft"
        use_swift_lora = use_liger_kernel = use_galore = False
        resume_from_checkpoint, adapters = None, ()
        is_adapter = property(lambda self: self.tuner_type != "full")

    def tuned(model, text):
        path = tmp_path / "ms-swift.yml"
        path.write_text(text, "utf-8")
        argv = [str(path)]
        parse_yaml_args(argv)
        assert argv == arguments(text)
        (told,) = HfArgumentParser(Arguments).parse_args_into_dataclasses(argv)
        model.model_meta = told.model_meta
        return tuner.TunerMixin.prepare_model(told, model)

    return SimpleNamespace(tune=tuned, how=f"ms-swift {version('ms-swift')}")


@pytest.fixture(params=["restated", "own"])
def tool(request, tmp_path, monkeypatch):
    if request.param == "own":
        monkeypatch.delenv("SWIFT_CONFIG_FILE", raising=False)  # it sets it
        return own_functions(tmp_path)
    return SimpleNamespace(tune=tune, how=RESTATED)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_parameters(tool, kind):
    for action in ("train", "freeze"):
        for text, named in (("1", {1}), ("1,10", {1, 10}), ("0-10", set(range(11)))):
            model = made(kind)
            tool.tune(model, exported("ms-swift", kind, action, text).text)
            blocks = named if action == "train" else set(range(12)) - named
            assert trainable(model) == parameters(model, blocks)
        record("ms-swift", action, kind, tool.how)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_planned_adapters(tool, kind):
    for text, blocks in (("1", {1}), ("1,10", {1, 10})):
        export = exported("ms-swift", kind, "lora", text, r=3, alpha=4.5)
        model = tool.tune(made(kind), export.text)
        assert adapters(model) == dict.fromkeys(linear(made(kind), blocks), 3)
        layers = [m for m in model.modules() if hasattr(m, "lora_A")]
        assert {scale for layer in layers for scale in layer.scaling.values()} == {1.5}
    record("ms-swift", "lora", kind, tool.how)


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
    tool.tune(model, exported("ms-swift", kind, "train", "10", parts=parts).text)
    assert trainable(model) - parameters(model, {10}) == beside


def test_parts_beside_adapters(tool):
    export = exported("ms-swift", "llama", "lora", "10", r=2, parts=("norm", "head"))
    names = trainable(tool.tune(made("llama"), export.text))
    beside = {name.removeprefix("base_model.model.") for name in names if "lora_" not in name}
    assert beside == {
        "lm_head.modules_to_save.default.weight",
        "model.norm.modules_to_save.default.weight",
    }


def test_a_pattern_without_its_ends_would_train_more(tool):
    """The negative control: what is found anywhere in a name is let go."""
    text = exported("ms-swift", "llama", "train", "1").text
    loose = yaml.safe_load(text)
    loose["trainable_parameters_regex"] = r"model\.layers\.1"
    model = made("llama")
    tool.tune(model, yaml.safe_dump(loose))
    assert trainable(model) == parameters(model, {1, 10, 11})


@pytest.mark.skipif(not MODERN, reason="experts are modules of their own before transformers 5")
def test_why_adapters_are_not_said_by_an_expression():
    told = yaml.safe_load(exported("ms-swift", "mixtral", "lora", "1", r=3).text)
    names = "|".join(map(re.escape, told["target_modules"]))
    config = peft.LoraConfig(target_modules=f"^({names})$")  # as target_regex arrives there
    reached = adapters(peft.get_peft_model(made("mixtral"), config))
    assert {int(name.split(".")[2]) for name in reached} == set(range(12))


def test_what_it_cannot_be_told_is_refused():
    with pytest.raises(OptionError, match=r"ms-swift takes one rank for all blocks.*axolotl"):
        exported("ms-swift", "llama", "lora", ranks=(2, 7))
    with pytest.raises(OptionError, match=r"no longer the head's matrix: leave embeddings out"):
        exported("ms-swift", "gemma", "lora", parts=("embeddings",))
    with pytest.raises(OptionError, match=r"ms-swift cannot drop blocks"):
        exported("ms-swift", "llama", "drop")
    assert set(TARGETS.get("ms-swift").refusals) == {"drop"}


def test_a_revision_is_pinned_on_its_hub(tmp_path):
    loaded, plan = plan_of("llama", "train")
    loaded = replace(loaded, name="owner/name", identity={**loaded.identity, "revision": "abc"})
    settings = yaml.safe_load(write(planned(plan, loaded), "ms-swift").text)
    assert settings["model"] == "owner/name"
    assert (settings["model_revision"], settings["use_hf"]) == ("abc", True)
    loaded = replace(loaded, name=str(tmp_path), identity=plan.identity)
    settings = yaml.safe_load(write(planned(plan, loaded), "ms-swift").text)
    assert settings["model"] == str(tmp_path)
    assert not {"use_hf", "model_revision"} & set(settings)


@pytest.mark.parametrize("action", ["train", "lora"])
def test_a_hostile_name_is_a_value(tool, action):
    loaded, plan = plan_of("llama", action)
    plain = yaml.safe_load(write(planned(plan, loaded), "ms-swift").text)
    plan, loaded = replace(plan, model=HOSTILE, why=HOSTILE), replace(loaded, name=HOSTILE)
    text = write(planned(plan, loaded), "ms-swift").text
    assert yaml.safe_load(text) == {**plain, "model": HOSTILE}
    model = tool.tune(made("llama"), text)
    assert trainable(model)

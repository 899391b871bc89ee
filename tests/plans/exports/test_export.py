"""A plan becomes a file for a model that is only named, and for no other model."""

from dataclasses import replace

import pytest
import torch

from cruxlm.models.load import load_model
from cruxlm.models.structure import load_structure
from cruxlm.plans.exports.export import export, exports, planned
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.results.export import Export
from cruxlm.results.plan import ACTIONS
from cruxlm.results.scan import BUILTIN_MODEL
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.testbed.home import resolve
from plans.exports.carried_out import executed, plan_of
from plans.twelve import made


def of(source, action="train", text="1"):
    loaded = load_model(source)
    return make_plan(action, blocks_of(text, loaded.ref), loaded)


def trained(found):
    return executed(found.text)["TRAINED"]


@pytest.fixture
def no_weights(monkeypatch):
    """Reading weights is an error."""

    def refuse(*_args, **_options):
        raise AssertionError("weights were read")

    monkeypatch.setattr("cruxlm.plans.exports.export.load_model", refuse)


def test_a_folder_is_read_without_its_weights(llama_folder, no_weights):
    plan = of(str(llama_folder))
    live = export(plan, "transformers", load_model(str(llama_folder)).module)
    assert trained(export(plan, "transformers")) == trained(live)
    assert trained(export(plan, "transformers", llama_folder)) == trained(live)
    assert "LlamaForCausalLM" not in live.text


def test_the_testbed_is_found_by_its_name(no_weights):
    for name in (BUILTIN_MODEL, "testbed:base-0"):
        plan = replace(of(resolve(None)), model=name)
        assert len(trained(export(plan, "transformers"))) == 9


def test_weights_tell_where_nothing_else_does(llama_folder, tmp_path):
    # Made for a live model: its hash is not the folder's, but its weights are.
    plan = of(load_model(str(llama_folder)).module)
    assert plan.identity["sha256"] != load_model(str(llama_folder)).identity["sha256"]
    assert len(trained(export(plan, "transformers", str(llama_folder)))) == 9
    # Copied in another precision: the same weights to bfloat16.
    load_model(str(llama_folder)).module.to(torch.bfloat16).save_pretrained(tmp_path / "copy")
    assert len(trained(export(of(str(llama_folder)), "transformers", tmp_path / "copy"))) == 9


def test_the_commit_of_a_hub_model_is_the_plan_s(llama_folder, monkeypatch):
    found = load_structure(llama_folder)
    asked = []

    def load(source, *, revision):
        asked.append((source, revision))
        return replace(found, identity={"revision": "abc"})

    monkeypatch.setattr("cruxlm.plans.exports.export.load_structure", load)
    plan = replace(of(str(llama_folder)), model="some/model", identity={"revision": "abc"})
    assert len(trained(export(plan, "transformers"))) == 9
    assert len(trained(export(plan, "transformers", "other/copy"))) == 9
    assert asked == [("some/model", "abc"), ("other/copy", None)]


def test_another_model_is_refused(llama_folder, tmp_path):
    plan = of(str(llama_folder))
    with pytest.raises(OptionError, match="the plan was made for"):
        export(plan, "transformers", made("llama"))
    other = load_model(str(llama_folder)).module
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1
    other.save_pretrained(tmp_path)
    for action in ACTIONS:
        with pytest.raises(OptionError, match="the plan was made for other weights"):
            export(of(str(llama_folder), action), "regex", str(tmp_path))
    for gone in ("./gone", "LlamaForCausalLM"):
        with pytest.raises(ModelError, match=rf"^{gone}, .* is no folder here: name its --model"):
            export(replace(plan, model=gone), "transformers")
    with pytest.raises(ModelError, match=r"^\./gone is not a model folder$"):
        export(plan, "transformers", "./gone")
    with pytest.raises(OptionError, match="a plan acts on a live model, not on int"):
        export(plan, "transformers", 3)


def test_a_target_that_is_not_there(llama_folder):
    with pytest.raises(OptionError, match="no export target 'axolotle': did you mean 'axolotl'"):
        export(of(str(llama_folder)), "axolotle")
    assert export(of(str(llama_folder), "lora"), "swift").target == "ms-swift"


def test_modules_belong_to_lora(llama_folder):
    with pytest.raises(OptionError, match="a plan to train blocks adapts no modules"):
        export(of(str(llama_folder)), "regex", modules=["q_proj"])
    plan = of(str(llama_folder), "lora")
    assert r"\.1\.self_attn\.q_proj$" in export(plan, "regex", modules=["q_proj"]).text


@pytest.mark.parametrize("action", ACTIONS)
def test_every_target_writes_or_says_why_not(action):
    loaded, plan = plan_of("llama", action)
    found = exports(planned(plan, loaded))
    assert found.action == action
    done = [one.target for one in found.made]
    assert sorted([*done, *found.refused]) == sorted(TARGETS.names())
    for one in found.made:
        assert one.action == action
        assert all((one.text, one.use, one.file))
        assert one.text.endswith("\n")
        assert str(one) == one.text
        assert Export.from_json(one.to_json()) == one
    for name, reason in found.refused.items():
        always = TARGETS.get(name).refusals.get(action)  # else it is this plan that it cannot say
        assert always is None or reason == f"{name} cannot {action} blocks: {always}"
        assert always or name == "llama-factory"


def test_an_action_that_is_refused_names_something_nearer():
    near = {"export", "crux drop", "nearest", "mergekit", "peft", "transformers"}
    for name in TARGETS.names():
        target = TARGETS.get(name)
        assert set(target.refusals) < set(ACTIONS)
        for reason in target.refusals.values():
            assert any(word in reason for word in near), (name, reason)


def test_a_plan_exports_itself(llama_folder):
    plan = of(str(llama_folder))
    assert plan.export("regex") == export(plan, "regex")

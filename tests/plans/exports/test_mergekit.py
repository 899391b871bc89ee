"""What mergekit writes of its file is the model without the planned blocks, and nothing else."""

from dataclasses import replace

import pytest
import torch
import transformers
import yaml

from cruxlm.models.load import load_model
from cruxlm.plans.exports.export import planned, write
from cruxlm.plans.exports.mergekit import WRITTEN, kept_ranges
from cruxlm.plans.exports.registry import TARGETS
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.runtime.errors import OptionError
from plans.exports.carried_out import HOSTILE, MODERN, exported, plan_of
from plans.exports.evidence import record
from plans.twelve import BASE, KINDS, made

DROPPED = {3, 4, 10}


def tiny(name):
    """A tiny model of a class that mergekit can shorten, or of another."""
    kinds = {f"{kind}ForCausalLM": key for key, (kind, _) in KINDS.items()}
    if name == "GPT2LMHeadModel" or name in kinds:
        return made("gpt2" if name == "GPT2LMHeadModel" else kinds[name])
    stem = name.removesuffix("ForCausalLM")
    options = {**BASE, "head_dim": 4} if stem in ("Glm4", "Qwen3") else BASE
    torch.manual_seed(0)
    config = getattr(transformers, f"{stem}Config")(**options)
    return getattr(transformers, name)._from_config(config).eval()


def drop(model, blocks="3,4,10"):
    loaded = load_model(model)
    return planned(make_plan("drop", blocks_of(blocks, loaded.ref), loaded), loaded)


def merged(text, folder):
    """What its command does with the file."""
    mergekit = pytest.importorskip("mergekit", exc_type=ImportError)
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    config = MergeConfiguration.model_validate(yaml.safe_load(text))
    options = MergeOptions(quiet=True, copy_tokenizer=False)
    run_merge(config, str(folder), options, config_source=text)
    return mergekit


def how():
    from importlib.metadata import version

    return f"mergekit {version('mergekit')}"


def identity(block, given, named, out):
    states = given[0] if given else named["hidden_states"]
    return (states, *out[1:]) if isinstance(out, tuple) else states


def skipping(made_plan, ids):
    """Logits of the model whose dropped blocks hand on what enters them."""
    blocks = made_plan.model.blocks.modules
    hooks = [
        blocks[i].register_forward_hook(identity, with_kwargs=True) for i in made_plan.plan.blocks
    ]
    try:
        with torch.no_grad():
            return made_plan.model.module(input_ids=ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_exactly_the_kept_blocks(name, tmp_path):
    pytest.importorskip("mergekit", exc_type=ImportError)
    model = tiny(name)
    model.save_pretrained(tmp_path / "model")
    made_plan = drop(model)
    loaded = replace(made_plan.model, name=str(tmp_path / "model"))
    merged(write(replace(made_plan, model=loaded), "mergekit").text, tmp_path / "smaller")

    smaller = type(model).from_pretrained(tmp_path / "smaller")
    path = made_plan.model.blocks.path
    kept = [block for block in range(12) if block not in DROPPED]
    held = model.state_dict()
    expected = {name: tensor for name, tensor in held.items() if not name.startswith(f"{path}.")}
    for new, old in enumerate(kept):
        for key, tensor in held.items():
            if key.startswith(f"{path}.{old}."):
                expected[f"{path}.{new}.{key.removeprefix(f'{path}.{old}.')}"] = tensor
    found = smaller.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in found)

    ids = torch.arange(5, 14)[None]
    with torch.no_grad():
        logits = smaller(input_ids=ids, use_cache=False).logits
        whole = model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(logits, skipping(made_plan, ids), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits, whole, rtol=1e-3, atol=1e-3)
    kinds = {cls: kind for kind, (cls, _) in KINDS.items()}
    stem = name.removesuffix("ForCausalLM")
    record("mergekit", "drop", kinds.get(stem, "gpt2" if "GPT2" in name else stem.lower()), how())


def test_why_another_class_is_refused(tmp_path):
    """Mergekit leaves the depth where it has no description: random blocks take their place."""
    pytest.importorskip("mergekit", exc_type=ImportError)
    made("opt").save_pretrained(tmp_path / "model")
    model = {"path": str(tmp_path / "model")}
    slices = [{"sources": [{"model": {"model": model}, "layer_range": [0, 9]}]}]
    text = yaml.safe_dump({"merge_method": "passthrough", "slices": slices})
    merged(text, tmp_path / "smaller")
    depth = transformers.AutoConfig.from_pretrained(tmp_path / "smaller").num_hidden_layers
    assert depth == 12
    with pytest.raises(OptionError, match=r"shorter OPTForCausalLM right: use `crux drop`"):
        exported("mergekit", "opt", "drop")


@pytest.mark.parametrize("blocks", ["0", "11", "1,10", "0,2,4,6,8,10", "1-11"])
def test_the_ranges_are_what_is_left(blocks):
    made_plan = drop(made("llama"), blocks)
    told = yaml.safe_load(write(made_plan, "mergekit").text)
    assert set(told) == {"merge_method", "slices"}
    left = [i for s in told["slices"] for i in range(*s["sources"][0]["layer_range"])]
    assert left == [i for i in range(12) if i not in made_plan.plan.blocks]
    assert len(told["slices"]) == len(kept_ranges(made_plan))
    assert all(len(s["sources"]) == 1 for s in told["slices"])


@pytest.mark.skipif(not MODERN, reason="configurations list kinds of blocks from transformers 5 on")
def test_a_configuration_that_mergekit_does_not_slice_is_refused():
    config = transformers.Qwen3MoeConfig(
        **{**BASE, **KINDS["qwen3_moe"][1], "mlp_only_layers": [5]}
    )
    model = transformers.Qwen3MoeForCausalLM._from_config(config)
    with pytest.raises(OptionError, match=r"mergekit leaves mlp_only_layers of the config.*drop`"):
        write(drop(model), "mergekit")
    write(drop(model, "6-11"), "mergekit")  # which leaves block 5 where it is


def test_a_hostile_name_is_a_value():
    loaded, plan = plan_of("llama", "drop")
    name = HOSTILE + "@x+y"
    plan, loaded = replace(plan, model=name, why=name), replace(loaded, name=name)
    text = write(planned(plan, loaded), "mergekit").text
    found = {str(s["sources"][0]["model"]) for s in yaml.safe_load(text)["slices"]}
    assert found == {str({"model": {"path": name}})}
    assert set(text) - set(filter(str.isprintable, text)) == {"\n"}
    assert "&id" not in text
    text = exported("mergekit", "llama", "drop").text
    assert "  - model: LlamaForCausalLM\n" in text  # as people write it, where that will do


def test_a_name_with_its_signs_is_a_path():
    mergekit = pytest.importorskip("mergekit.config", exc_type=ImportError)
    loaded, plan = plan_of("llama", "drop")
    for name, revision in ((HOSTILE + "@x+y", None), ("owner/name", "abc")):
        identity = {**loaded.identity, "revision": str(revision)}
        held = replace(loaded, name=name, identity=identity)
        text = write(planned(plan, held), "mergekit").text
        config = mergekit.MergeConfiguration.model_validate(yaml.safe_load(text))
        (model,) = config.referenced_models()
        assert (model.model.path, model.model.revision, model.lora) == (name, revision, None)


def test_what_it_cannot_be_told_is_refused():
    for action in ("train", "freeze", "lora"):
        with pytest.raises(OptionError, match=r"mergekit cannot \w+ blocks: .*plan to drop"):
            exported("mergekit", "llama", action)
    assert set(TARGETS.get("mergekit").refusals) == {"train", "freeze", "lora"}


def test_no_block_is_left():
    made_plan = drop(made("llama"), "0-10")
    everything = replace(
        made_plan.plan, blocks=tuple(range(12)), reasons=(*made_plan.plan.reasons, "")
    )
    with pytest.raises(OptionError, match="cannot drop every block"):
        write(replace(made_plan, plan=everything), "mergekit")

"""Exactly the planned tensors train: all weights compared bit for bit before and after a step."""

import pytest
import torch

from cruxlm.models.load import load_model
from cruxlm.models.parts import parts_of
from cruxlm.plans.apply import apply, planned_names, trained
from cruxlm.plans.grammar import Chosen, blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.runtime.errors import ModelError, OptionError
from plans.twelve import BLOCKS, made, step

TRAINED = ("llama", "gpt2", "mixtral", "qwen3_moe", "deepseek", "gemma", "opt")


def planned(loaded, text, action="train", **options):
    return make_plan(action, blocks_of(text, loaded.ref), loaded, **options)


def changed_by_a_step(model):
    """The names of the tensors that an optimiser over everything trainable moves."""
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    step(model, batch=4, tokens=24).backward()
    optimiser.step()
    after = model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("kind", TRAINED)
@pytest.mark.parametrize(
    ("text", "action", "blocks"),
    [
        ("1", "train", {1}),
        ("10", "train", {10}),
        ("1,10", "train", {1, 10}),
        ("last:2", "train", {10, 11}),
        ("1,10", "freeze", set(range(12)) - {1, 10}),
    ],
)
def test_exactly_the_planned_blocks_change(kind, text, action, blocks):
    model = made(kind)
    loaded = load_model(model)
    path = loaded.blocks.path
    report = planned(loaded, text, action).apply(model)
    changed = changed_by_a_step(model)
    expected = {
        name
        for name, _ in model.named_parameters()
        if any(name.startswith(f"{path}.{block}.") for block in blocks)
    }
    # A router's bias and experts that no token went to stay; nothing else may.
    still = {name for name in expected - changed if "expert" in name or "k_proj.bias" in name}
    assert changed == expected - still
    assert report.count == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert set(report.blocks) == blocks
    assert report.parts == {}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma", "opt"])
@pytest.mark.parametrize("parts", [("embeddings",), ("norm",), ("embeddings", "norm")])
def test_parts_are_trained_as_well(kind, parts):
    model = made(kind)
    loaded = load_model(model)
    held = parts_of(loaded)
    report = planned(loaded, "10", parts=parts).apply(loaded)
    expected = set(held.blocks[10]).union(*(getattr(held, part) for part in parts))
    assert {name for name, p in model.named_parameters() if p.requires_grad} == expected
    assert {part: held.count(getattr(held, part)) for part in parts} == report.parts
    tied = {"lm_head.weight"} if held.tied and "embeddings" in parts else set()
    changed = changed_by_a_step(model)
    assert changed - tied == expected - {n for n in expected - changed if "k_proj.bias" in n}
    assert tied <= changed


def test_the_head_of_a_tied_model_is_its_embeddings():
    tied, untied = load_model(made("gemma")), load_model(made("llama"))
    plan = planned(tied, "1", parts=("head",))
    with pytest.raises(OptionError, match="the head is the matrix of the embeddings: train"):
        apply(plan, tied)
    assert apply(planned(untied, "1", parts=("head",)), untied).parts == {"head": 61 * 16}


def test_what_was_frozen_before_is_trained_and_the_rest_is_not():
    model = made("llama")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    loaded = load_model(model)
    apply(planned(loaded, "3"), model)
    first = {name for name, p in model.named_parameters() if p.requires_grad}
    apply(planned(loaded, "4"), model)
    second = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in first} == {"3"}
    assert {name.split(".")[2] for name in second} == {"4"}


def test_it_says_what_it_trains():
    model = made("llama")
    loaded = load_model(model)
    total = sum(p.numel() for p in model.parameters())
    one = loaded.parameters_per_block()[0]
    report = apply(planned(loaded, "3,7,8"), model)
    assert (report.count, report.total) == (3 * one, total)
    share = f"{100 * 3 * one / total:.1f} %"
    assert str(report) == f"trains {3 * one:,} of {total:,} parameters ({share}): blocks 3, 7, 8"
    report = apply(planned(loaded, "3", parts=("embeddings",)), model)
    assert str(report).endswith(f": block 3, embeddings ({976 / (976 + one):.0%} of it)")


def test_another_model_is_refused_and_left_alone():
    plan = planned(load_model(made("llama")), "3")
    for other in (made("llama", seed=1), made("mixtral"), made("gpt2")):
        with pytest.raises(OptionError, match="the plan was made for"):
            apply(plan, other)
        assert all(p.requires_grad for p in other.parameters())


def test_the_same_model_in_another_dtype_is_accepted():
    plan = planned(load_model(made("llama")), "3")
    assert set(apply(plan, made("llama").to(torch.bfloat16)).blocks) == {3}


def test_a_plan_that_trains_nothing_is_refused():
    model = made("llama")
    loaded = load_model(model)
    with pytest.raises(OptionError, match="trains nothing: it freezes blocks 0, 1"):
        apply(planned(loaded, "all", "freeze"), model)
    with pytest.raises(OptionError, match="a plan to drop blocks makes nothing trainable"):
        apply(planned(loaded, "1", "drop"), model)
    with pytest.raises(OptionError, match="makes nothing trainable: take its lora_config"):
        apply(planned(loaded, "1", "lora"), model)
    assert all(p.requires_grad for p in model.parameters())
    # All blocks frozen and a part trained is something.
    report = apply(planned(loaded, "all", "freeze", parts=("norm",)), model)
    assert (report.blocks, report.parts) == ({}, {"norm": 16})
    assert str(report).endswith(": norm (100% of it)")


def test_a_name_is_no_live_model():
    plan = planned(load_model(made("llama")), "3")
    with pytest.raises(OptionError, match="acts on a live model, not on str: load it"):
        plan.apply("some/model")


def test_a_quantised_block_cannot_be_trained():
    model = made("llama")
    held = model.model.layers[10].mlp.up_proj
    held.weight = torch.nn.Parameter(held.weight.to(torch.int8), requires_grad=False)
    loaded = load_model(model)
    with pytest.raises(ModelError, match=r"layers\.10\.mlp\.up_proj\.weight is int8 \(quantised\)"):
        apply(planned(loaded, "10"), model)
    assert model.model.layers[1].mlp.up_proj.weight.requires_grad
    assert set(apply(planned(loaded, "1"), model).blocks) == {1}


def test_names_are_exact():
    loaded = load_model(made("llama"))
    parts = parts_of(loaded)
    for block in range(BLOCKS):
        chosen = Chosen((block,), ("",), "", (block,))
        names = planned_names(make_plan("train", chosen, loaded), parts)
        assert {name.split(".")[2] for name in names} == {str(block)}
        assert len(names) == len(parts.blocks[block]) == 9


def test_counting_what_is_trainable_counts_all_of_it():
    """Whatever is thawed by hand shows up somewhere."""
    for kind in ("gpt2", "deepseek"):
        model = made(kind)
        loaded = load_model(model)
        parts = parts_of(loaded)
        model.requires_grad_(False)
        for name, parameter in list(model.named_parameters())[::5]:
            parameter.requires_grad_(True)
            assert trained(loaded, parts).count == parameter.numel(), name
            parameter.requires_grad_(False)

"""Exactly the planned tensors are trained: all weights before and after, compared bit for bit.

Which tensors a block has is told from their names here, by hand, for each architecture.
"""

import re
import socket
from dataclasses import replace

import pytest
import torch

from actions.tiny_runs import changed, everything, planned, rows, small, train, values
from cruxlm.actions.fit import prepare
from cruxlm.actions.lisa import drawn_blocks
from cruxlm.actions.settings import Settings
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import OptionError
from models.architectures import MODERN
from moments import At, same, stop
from plans.twelve import BLOCKS, made

pytestmark = pytest.mark.usefixtures("frozen")

LLAMA, GPT2 = r"model\.layers\.(\d+)\.", r"transformer\.h\.(\d+)\."
"""Where the tensors of a block are, from the beginning of their names."""
PARTS = {
    "embeddings": {"model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight"},
    "norm": {"model.norm.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"},
    "head": {"lm_head.weight"},
}
TIED = ("gpt2", "gemma")


def place(kind):
    return GPT2 if kind == "gpt2" else LLAMA


def wanted_names(kind, held, blocks, parts=()):
    """The names of the parameters of some blocks and parts; a buffer is never trained."""
    parts = {*parts, "head"} if kind in TIED and "embeddings" in parts else set(parts)
    of_parts = set().union(*(PARTS[part] for part in parts))
    names = [name for name, (tensor, _) in held.items() if isinstance(tensor, torch.nn.Parameter)]
    found = {name: re.match(place(kind), name) for name in names}
    return {n for n, block in found.items() if n in of_parts or (block and int(block[1]) in blocks)}


EXPRESSIONS = {
    "one": ("1", {}, {1}),
    "ten": ("10", {}, {10}),
    "first": ("first:2", {}, {0, 1}),
    "random": ("random:3@1", {}, {0, 8, 9}),
    "complement": ("0-9", {"complement": True}, {10, 11}),
    "embeddings": ("1", {"parts": ("embeddings",)}, {1}),
    "norm": ("11", {"parts": ("norm",)}, {11}),
    "all": ("all", {}, set(range(BLOCKS))),
}
CASES = [
    (("llama", "gpt2", "mixtral", "gemma")[(row + turn) % 4], method, expression)
    for row, expression in enumerate(EXPRESSIONS)
    for turn, method in enumerate(("full", "lora", "lisa"))
]
"""Every method with every expression, each time on the next architecture."""
CASES += [("qwen3_moe", "full", "one"), ("qwen3_moe", "lora", "ten"), ("llama", "full", "head")]
CASES += [("mixtral", "full", "head"), ("llama", "lora", "head"), ("gemma", "lora", "embeddings")]
EXPRESSIONS["head"] = ("1,10", {"parts": ("norm", "head")}, {1, 10})


@pytest.mark.parametrize(("kind", "method", "expression"), CASES)
def test_exactly_the_planned_tensors_change(tmp_path, kind, method, expression):
    blocks, options, expected = EXPRESSIONS[expression]
    run = train(tmp_path, kind, blocks, method=method, lisa_blocks=1, **options)
    parts = options.get("parts", ())
    assert run.plan.trained == tuple(sorted(expected))
    assert set(run.trained.blocks) == expected
    if method == "lora":
        check_adapters(run, kind, expected, parts)
    else:
        moved = expected
        if method == "lisa":  # the others wait for their turn
            moved = {b for turn in range(4) for b in drawn_blocks(run.plan.trained, 1, 0, turn)}
        assert changed(run.before) == wanted_names(kind, run.before, moved, parts)
        check_told(run, wanted_names(kind, run.before, expected, parts))
    check_nothing_stays(run)


def check_told(run, names):
    """What is said to be trained is what is; and the model holds the tensors that it had."""
    tensors = {id(run.before[name][0]): run.before[name][0] for name in names}
    assert run.trained.count == sum(tensor.numel() for tensor in tensors.values())
    now = everything(run.model.module)
    assert {n: id(t) for n, (t, _) in now.items()} == {n: id(t) for n, (t, _) in run.before.items()}


def check_adapters(run, kind, blocks, parts):
    """The base model is what it was; adapters are in the planned blocks alone, and have moved."""
    assert changed(run.before) == set()
    named = dict(run.module.named_parameters())
    adapters = {name: p for name, p in named.items() if "lora_" in name}
    found = {int(re.match(r"base_model\.model\." + place(kind), name)[1]) for name in adapters}
    assert found == blocks
    for name, adapter in adapters.items():
        assert "lora_B" not in name or adapter.abs().max() > 0, name  # these begin with zeros
    copies = {name: p for name, p in named.items() if "modules_to_save" in name}
    owners = {re.search(r"(\w+)\.modules_to_save", name)[1] for name in copies}
    assert owners == {name.split(".")[-2] for name in wanted_names(kind, run.before, (), parts)} - (
        {"lm_head"} if kind in TIED else set()
    )
    for name, copy in copies.items():
        original = run.before[re.sub(r"base_model\.model\.|modules_to_save\.default\.", "", name)][
            1
        ]
        assert not torch.equal(copy, original), name
    assert {name for name, p in named.items() if p.requires_grad} == {*adapters, *copies}
    # Experts that are fused are no linear maps, and that is said.
    fused = MODERN and kind in ("mixtral", "qwen3_moe")
    assert ("experts" in str(run.trained)) == ("frozen" in str(run.trained)) == fused
    assert run.trained.count == sum(p.numel() for p in [*adapters.values(), *copies.values()])


def check_nothing_stays(run):
    """No hook, no forward pass of Accelerate's, and evaluation mode."""
    for part in run.module.modules():
        assert not part.training
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert "forward" not in vars(part)
    assert run.model.module.config.use_cache  # or what is saved would generate without a cache


def test_one_tensor_more_would_be_seen(tmp_path):
    """The control: block 10 let loose beside block 1, as a prefix would do."""

    def loosen(model, _module):
        for parameter in model.blocks.modules[10].parameters():
            parameter.requires_grad_(True)

    run = train(tmp_path, plan="1", ready=loosen)
    wanted = wanted_names("llama", run.before, {1})
    assert changed(run.before) - wanted == wanted_names("llama", run.before, {10})


@pytest.mark.parametrize("method", ["full", "lisa"])
def test_a_plan_to_freeze(tmp_path, method):
    loaded = load_model(made("gpt2"))
    plan = replace(planned(loaded, "0-9"), action="freeze")
    run = train(tmp_path, loaded.module, plan, method=method, lisa_blocks=2)
    assert changed(run.before) == wanted_names("gpt2", run.before, {10, 11})


def test_what_gets_no_gradient_stays(tmp_path):
    """It is registered and may be trained; a parameter that no pass reads has nothing to learn."""
    model = made("llama")
    unread = torch.nn.Parameter(torch.ones(3))
    model.model.layers[1].register_parameter("unread", unread)
    run = train(tmp_path, model, "1", weight_decay=0.5)
    names = wanted_names("llama", run.before, {1})
    assert changed(run.before) == names - {"model.layers.1.unread"}
    assert run.trained.blocks == {1: sum(run.before[name][0].numel() for name in names)}


def test_the_seed_and_nothing_else_decides(tmp_path):
    """Neither the state of the process nor an earlier training."""

    def adapted(name, state, **options):
        model = small()
        torch.manual_seed(state)
        return values(train(tmp_path / name, model, "1,3", method="lora", **options).module)

    one = adapted("a", 1)
    assert same(adapted("b", 2), one)
    assert not same(adapted("c", 1, seed=1), one)
    assert not same(adapted("d", 1, data=rows(seed=1)), one)


def test_putting_adapters_on_draws_nothing_from_the_process(tmp_path):
    loaded = load_model(made("llama"))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    prepare(loaded, planned(loaded, "1", "lora"), Settings(method="lora"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_nothing_is_asked_of_the_network(tmp_path, monkeypatch, method):
    """Also for a model of the hub, of which peft likes to know whether it has grown."""
    model = made("llama")
    model.name_or_path = model.config._name_or_path = "an-owner/a-model"
    asked = []

    def refuse(*given, **_options):
        asked.append(given)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    train(tmp_path, model, method=method)
    assert asked == []


def test_ctrl_c_leaves_nothing_on_the_model(tmp_path):
    loaded = load_model(made("llama"))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, loaded.module, callbacks=[At(2, stop())])
    assert not any("forward" in vars(part) for part in loaded.module.modules())


def test_ending_early_needs_something_to_tell_when(tmp_path):
    with pytest.raises(OptionError, match="patience needs validation rows"):
        train(tmp_path, patience=1)

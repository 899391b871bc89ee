"""A model that was lent for a training is given back bit for bit, whatever ended that."""

from contextlib import nullcontext

import pytest
import torch

from actions.tiny_runs import changed, everything, planned, train
from cruxlm.actions import fit as fitting
from cruxlm.actions.fit import prepare
from cruxlm.actions.restore import borrowed
from cruxlm.actions.settings import Settings
from cruxlm.models.load import load_model, quiet_transformers
from moments import At, stop
from plans.twelve import made

pytestmark = pytest.mark.usefixtures("frozen")

LENT = [
    ("llama", "full", ()),
    ("mixtral", "lisa", ("head",)),
    ("llama", "lora", ("norm", "head")),
    ("gpt2", "lora", ()),
    ("gemma", "lora", ("embeddings",)),
]


def state(module):
    """All that there is to a model beside its values: modules, attributes, modes, hooks."""
    return {
        "modules": {name: id(part) for name, part in module.named_modules(remove_duplicate=False)},
        "order": [name for name, _ in module.named_parameters(remove_duplicate=False)],
        "tensors": {name: id(tensor) for name, (tensor, _) in everything(module).items()},
        "attributes": set(vars(module)),
        "training": {name: part.training for name, part in module.named_modules()},
        "trainable": {name: p.requires_grad for name, p in module.named_parameters()},
        "gradients": {name: p.grad for name, p in module.named_parameters()},
        "hooks": [
            name
            for name, part in module.named_modules()
            if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
        ],
        "config": {**module.config.to_dict(), **dict.fromkeys(("architectures", "dtype"))},
    }


def odd(kind):
    """A model in a state that nothing sets on its own."""
    module = made(kind, **({"n_layer": 4} if kind == "gpt2" else {"num_hidden_layers": 4}))
    next(module.parameters()).requires_grad_(False)
    next(iter(load_model(module).blocks.modules)).train()
    return module


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
@pytest.mark.parametrize(("kind", "method", "parts"), LENT)
def test_a_model_is_given_back(tmp_path, kind, method, parts, error):
    module = odd(kind)
    loaded = load_model(module)
    before, held = state(module), everything(module)
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        logits = module(tokens).logits
    plan = planned(loaded, "1,3", method, parts=parts)
    moved = []

    def look():
        moved.extend(changed(held) or [name for name in state(module)["order"] if "lora" in name])
        if error is not None:
            raise error

    with pytest.raises(error) if error else nullcontext(), borrowed(loaded, plan):
        train(tmp_path, module, plan, method=method, callbacks=[At(3, look)])
    assert moved
    assert state(module) == before
    assert changed(held) == set()
    with torch.no_grad():
        assert torch.equal(module(tokens).logits, logits)


def test_adapters_are_taken_off_however_far_it_came(monkeypatch):
    """An error right after peft has changed the model."""
    module = odd("llama")
    loaded = load_model(module)
    before, plan = state(module), planned(loaded, "1,3", "lora", parts=("norm",))
    monkeypatch.setattr(fitting, "trained", stop(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), borrowed(loaded, plan):
        prepare(loaded, plan, Settings(method="lora"))
    assert state(module) == before


def test_adapters_go_on_again_as_if_for_the_first_time(tmp_path):
    """Three plans on one model are three models."""
    loaded = load_model(odd("llama"))
    for plan, parts in (("1", ("norm",)), ("3", ()), ("1", ("norm",))):
        wanted = planned(loaded, plan, "lora", parts=parts)
        with quiet_transformers(), borrowed(loaded, wanted):
            adapted, told = prepare(loaded, wanted, Settings(method="lora"))
            trainable = {name for name, p in adapted.named_parameters() if p.requires_grad}
            assert all(f".{plan}." in name or "norm" in name for name in trainable)
            assert any("modules_to_save" in name for name in trainable) == bool(parts)
            assert set(told.blocks) == {int(plan)}

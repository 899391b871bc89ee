"""The hook manager: what watchers see, and that nothing of them is left."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.patch import (
    Arguments,
    Patch,
    StopForwardError,
    evaluation_mode,
    first_tensor,
    training_mode,
)
from cruxlm.runtime.errors import ModelError


class Doubling(nn.Module):
    """Returns twice its input, wrapped as blocks of different libraries wrap theirs."""

    def __init__(self, wrap: Any = lambda states: states) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, hidden_states: Tensor, scale: float = 2.0) -> Any:
        return self.wrap(scale * hidden_states)


@pytest.fixture
def states() -> Tensor:
    return torch.arange(12.0).reshape(1, 3, 4)


def _hooks(*modules: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda states: states,
        lambda states: (states, None),
        lambda states: [states, states + 1],
        lambda states: ((states, states + 1), None),
    ],
    ids=["tensor", "tuple", "list", "nested"],
)
def test_the_output_is_found_in_whatever_a_block_returns(wrap: Any, states: Tensor) -> None:
    block, seen = Doubling(wrap), []
    with Patch() as patch:
        patch.watch_output(block, seen.append)
        block(states)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], 2 * states)


def test_the_input_is_found_by_place_and_by_name(states: Tensor) -> None:
    block, seen = Doubling(), []
    with Patch() as patch:
        patch.watch_input(block, seen.append)
        block(states)
        block(hidden_states=states + 1)
        block(states + 2, scale=3.0)
        block(scale=3.0, hidden_states=states + 3)
    torch.testing.assert_close(torch.stack(seen), torch.stack([states + k for k in range(4)]))


@pytest.mark.parametrize("value", [None, (), [], {"hidden_states": 1}, "states", (None, 1)])
def test_something_that_is_no_tensor_is_refused(value: Any) -> None:
    with pytest.raises(ModelError, match="not a tensor of states"):
        first_tensor(value)


def test_a_block_that_is_given_nothing_known_is_refused() -> None:
    class Other(nn.Module):
        def forward(self, embedded: Tensor) -> Tensor:
            return embedded

    block = Other()
    with Patch() as patch:
        patch.watch_input(block, print)
        with pytest.raises(ModelError, match="passes on NoneType"):
            block(embedded=torch.zeros(1, 1, 1))


def test_watching_changes_no_output(states: Tensor) -> None:
    model = nn.Sequential(Doubling(), nn.Linear(4, 4), Doubling())
    plain = model(states)
    with Patch() as patch:
        for module in model:
            # What a watcher returns must not become the module's output.
            patch.watch_input(module, lambda seen: seen + 1)  # type: ignore[arg-type,return-value]
            patch.watch_output(module, lambda seen: seen + 1)  # type: ignore[arg-type,return-value]
        assert torch.equal(model(states), plain)
    assert torch.equal(model(states), plain)


def test_every_watcher_is_called_in_order(states: Tensor) -> None:
    first, second, order = Doubling(), Doubling(), []
    with Patch() as patch:
        patch.watch_input(first, lambda _: order.append("in"))
        patch.watch_output(first, lambda _: order.append("out"))
        patch.watch_output(second, lambda _: order.append("second"))
        second(first(states))
    assert order == ["in", "out", "second"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, StopForwardError])
def test_hooks_are_gone_whatever_ends_the_patch(error: type[BaseException]) -> None:
    block = Doubling()

    def interrupt(_states: Tensor) -> None:
        raise error

    def run() -> None:
        with Patch() as patch:
            patch.watch_input(block, lambda _: None)
            patch.watch_output(block, interrupt)
            assert _hooks(block) == 2
            block(torch.zeros(1, 1, 1))

    with pytest.raises(error):
        run()
    assert _hooks(block) == 0


def test_hooks_of_others_stay(states: Tensor) -> None:
    block, theirs, ours = Doubling(), [], []
    handle = block.register_forward_hook(lambda _m, _a, output: theirs.append(output))
    with Patch() as patch:
        patch.watch_output(block, ours.append)
        block(states)
    block(states)
    assert (len(theirs), len(ours)) == (2, 1)
    assert list(block._forward_hooks) == [handle.id]


def test_a_watcher_can_end_the_pass(states: Tensor) -> None:
    def stop(_states: Tensor) -> None:
        raise StopForwardError

    reached: list[Tensor] = []
    model = nn.Sequential(OrderedDict(first=Doubling(), last=Doubling()))
    with Patch() as patch:
        patch.watch_output(model.first, stop)
        patch.watch_input(model.last, reached.append)
        with pytest.raises(StopForwardError):
            model(states)
    assert reached == []


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_every_module_returns_to_the_mode_it_was_in(error: type[BaseException] | None) -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()), nn.Dropout())
    model.train()
    model[1][0].eval()
    model[2].eval()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    try:
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert [module.training for module in model.modules()] == before


def test_a_model_in_evaluation_mode_stays_there() -> None:
    model = nn.Sequential(nn.Dropout()).eval()
    with evaluation_mode(model):
        pass
    assert not any(module.training for module in model.modules())


def test_a_skipped_block_passes_its_input_on(states: Tensor) -> None:
    """Whatever it returns and however it is called; what else it returns is its own."""
    for wrap in (
        lambda states: states,
        lambda states: (states,),
        lambda states: (states, "cache", states + 1),
    ):
        block = Doubling(wrap)
        plain = block(states)
        with Patch() as patch:
            patch.skip(block)
            for given in (block(states), block(hidden_states=states), block(states, scale=3.0)):
                if not isinstance(plain, tuple):
                    assert given is states
                    continue
                assert given[0] is states
                assert len(given) == len(plain)
                assert given[1:2] == plain[1:2]
        again = block(states)
        assert torch.equal(first_tensor(again), 2 * states)
        assert _hooks(block) == 0


def test_a_skipped_block_still_runs(states: Tensor) -> None:
    """Its cache is filled, and the next blocks read what came before it."""
    model = nn.Sequential(Doubling(), Doubling(), Doubling())
    ran: list[Tensor] = []
    handle = model[1].register_forward_hook(lambda _m, _a, output: ran.append(output))
    with Patch() as patch:
        patch.skip(model[1])
        assert torch.equal(model(states), 4 * states)
        patch.skip(model[2])
        assert torch.equal(model(states), 2 * states)
    assert torch.equal(ran[0], 4 * states)
    assert torch.equal(model(states), 8 * states)
    assert list(model[1]._forward_hooks) == [handle.id]


def test_skipping_against_a_model_without_the_block() -> None:
    model = tiny_llama(blocks=4)
    shorter = tiny_llama(blocks=4)
    del shorter.model.layers[2]
    shorter.config.num_hidden_layers = 3
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        whole = model(tokens, use_cache=False).logits
        expected = shorter(tokens, use_cache=False).logits
        with Patch() as patch:
            patch.skip(model.model.layers[2])
            torch.testing.assert_close(model(tokens, use_cache=False).logits, expected)
        assert torch.equal(model(tokens, use_cache=False).logits, whole)
    assert (whole - expected).abs().max() > 1e-2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_skipped_block_is_put_back_whatever_happens(error: type[BaseException]) -> None:
    block = Doubling()

    def run() -> None:
        with Patch() as patch:
            patch.skip(block)
            assert _hooks(block) == 1
            raise error

    with pytest.raises(error):
        run()
    assert _hooks(block) == 0


def test_a_module_is_called_with_other_arguments(states: Tensor) -> None:
    block = Doubling()

    def change(*args: Any, **kwargs: Any) -> Arguments:
        return tuple(arg + 1 for arg in args), {**kwargs, "scale": 3.0}

    with Patch() as patch:
        patch.change_arguments(block, change)
        assert torch.equal(block(states), 3 * (states + 1))
        assert torch.equal(block(states, scale=5.0), 3 * (states + 1))
        assert torch.equal(block(hidden_states=states), 3 * states)
    assert torch.equal(block(states), 2 * states)
    assert _hooks(block) == 0


def test_a_forward_pass_is_replaced_and_comes_back(states: Tensor) -> None:
    block, seen = Doubling(), []
    handle = block.register_forward_hook(lambda _m, _a, output: seen.append(output))
    with Patch() as patch:
        patch.replace_forward(block, lambda given, **_rest: given + 1)
        assert torch.equal(block(states, scale=3.0), states + 1)
        patch.replace_forward(block, lambda given: given + 2)  # once more
        assert torch.equal(block(states), states + 2)
    assert torch.equal(block(states), 2 * states)
    assert "forward" not in vars(block)
    torch.testing.assert_close(torch.stack(seen), torch.stack([states + 1, states + 2, 2 * states]))
    assert list(block._forward_hooks) == [handle.id]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_forward_pass_of_its_own_comes_back(states: Tensor, error: type[BaseException]) -> None:
    """Accelerate puts one on every module of a model that is split."""
    block = Doubling()
    block.forward = lambda given: given - 1  # type: ignore[method-assign,assignment,misc]
    own = block.forward

    def run() -> None:
        with Patch() as patch:
            patch.replace_forward(block, lambda given: given + 1)
            assert torch.equal(block(states), states + 1)
            raise error

    with pytest.raises(error):
        run()
    assert block.forward is own
    assert torch.equal(block(states), states - 1)


@pytest.mark.parametrize("enter", [evaluation_mode, training_mode])
def test_modes_that_change_meanwhile_come_back(enter: Any) -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    model[1].eval()
    with enter(model):
        assert [part.training for part in model] == [enter is training_mode] * 2
        with evaluation_mode(model), training_mode(model):
            assert all(part.training for part in model)
        assert [part.training for part in model] == [enter is training_mode] * 2
    assert [part.training for part in model] == [True, False]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda states: states,
        lambda states: (states, "cache"),
        lambda states: [states, "cache"],
        lambda states: ((states, "cache"), None),
    ],
    ids=["tensor", "tuple", "list", "nested"],
)
def test_an_output_is_changed_in_whatever_a_block_returns(wrap: Any, states: Tensor) -> None:
    block = Doubling(wrap)
    plain = block(states)
    with Patch() as patch:
        patch.change_output(block, lambda own, args, kwargs: own - args[0] + kwargs["scale"])
        changed = block(states, scale=3.0)
    assert type(changed) is type(plain)
    assert torch.equal(first_tensor(changed), 3 * states - states + 3)
    if not isinstance(plain, Tensor):
        assert changed[1:] == plain[1:]
    assert torch.equal(first_tensor(block(states)), 2 * states)
    assert _hooks(block) == 0


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_data_is_put_in_and_the_own_comes_back(error: type[BaseException] | None) -> None:
    layer = nn.Linear(3, 3)
    values, place = layer.weight.clone(), layer.weight.data_ptr()
    layer.weight.grad = torch.ones(3, 3)
    try:
        with Patch() as patch:
            patch.set_data(layer.weight, torch.zeros(3, 3))
            patch.set_data(layer.weight, torch.ones(3, 3))  # once more
            assert torch.equal(layer.weight, torch.ones(3, 3))
            if error is not None:
                raise error
    except (RuntimeError, KeyboardInterrupt):
        pass
    assert torch.equal(layer.weight, values)
    assert layer.weight.data_ptr() == place
    assert layer.weight.requires_grad
    assert torch.equal(layer.weight.grad, torch.ones(3, 3))

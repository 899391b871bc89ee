"""The two halves of each block, found by what they do: attention and feed-forward.

No class or attribute is named. Each block is run again on two short rows, and its modules with
weights are looked at: the one whose output at a token heeds other tokens is attention, those that
do not are the feed-forward half. What a half adds to the stream is the output of one module, with
the norm after it where there is one; the block adds it, or the half has done so itself. The right
reading is the one by which a block with both halves silent returns its input bit for bit; a block
that has none is refused.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from cruxlm.models.alike import alike, equal
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch, evaluation_mode, first_tensor, given_states
from cruxlm.models.prefix import two_rows
from cruxlm.runtime.errors import ModelError

HALVES = ("attention", "feed_forward")
"""The sublayers of a block."""
Stream = Callable[[Any, Any], Tensor]
"""The states that a module adds to, from its arguments by place and by keyword."""


@dataclass(frozen=True)
class Site:
    """Where a unit adds to the stream of states."""

    name: str
    """Path of the unit, or of the last of its modules."""
    modules: tuple[nn.Module, ...]
    """The modules that hold its weights."""
    end: nn.Module
    """The module whose output holds what it adds."""
    stream: Stream | None
    """What that output has in it already; None where it is the contribution alone."""

    def without(self, states: Tensor, args: Any, kwargs: Any) -> Tensor:
        """What ``end`` would return if the unit added nothing."""
        if self.stream is None:
            return torch.zeros_like(states)
        return self.stream(args, kwargs).to(states.device, states.dtype)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module."""

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor
    """The states that it returned; others may have written into them since (Falcon adds so)."""
    states: Tensor
    """A copy of them."""

    def again(self, change: Callable[[Any], Any] = lambda given: given) -> Tensor:
        """Run it once more, with each argument as ``change`` gives it."""
        args = [change(given) for given in self.args]
        kwargs = {name: change(given) for name, given in self.kwargs.items()}
        return first_tensor(self.module(*args, **kwargs))

    @property
    def weighs(self) -> bool:
        """Whether it is more than a norm, a dropout or an activation."""
        return any(parameter.dim() > 1 for parameter in self.module.parameters())


def sublayers(model: LoadedModel, half: str) -> tuple[Site, ...]:
    """One half (of ``HALVES``) of every block.

    Takes one pass over two short rows, and some three more of each block.

    Raises:
        ModelError: When a block has no two such halves, naming it.
    """
    with evaluation_mode(model.blocks.tower), torch.no_grad():
        return tuple(halves_of(call)[half] for call in block_calls(model))


def block_calls(model: LoadedModel) -> list[Call]:
    """The call of every block in a pass over two short rows."""
    stack, inputs = model.blocks, tower_inputs(two_rows(), model.blocks.tower)
    named = dict(zip(stack.names, stack.modules, strict=True))
    return calls_of(named, lambda: stack.tower(**inputs))


def calls_of(modules: dict[str, nn.Module], run: Callable[[], Any]) -> list[Call]:
    """The calls of some modules while something is run, in order."""
    calls: list[Call] = []

    def see(path: str, module: nn.Module, states: Tensor, args: Any, kwargs: Any) -> Tensor:
        calls.append(Call(path, module, args, kwargs, states, states.clone()))
        return states

    with Patch() as patch:
        for path, module in modules.items():
            patch.change_output(module, partial(see, path, module))
        run()
    return calls


def halves_of(block: Call, otherwise: str = "ablate whole blocks") -> dict[str, Site]:
    """Both halves of a block, from a call of it.

    Raises:
        ModelError: When it has no two such halves; ``otherwise`` is what can be done then.
    """
    calls = calls_of(dict(children_of(block.module, block.path)), block.again)
    heavy = [call for call in calls if call.weighs]
    mixing = [call for call in heavy if _mixes(call, block.states.shape[1])]
    alone = [call for call in heavy if call not in mixing]
    found = ", ".join(call.path.removeprefix(f"{block.path}.") for call in heavy)
    if len(mixing) != 1 or not alone:
        raise ModelError(
            f"{block.path} has no attention and feed-forward half that can be told apart "
            f"(of {found}, {len(mixing)} mix tokens): {otherwise}"
        )
    states = given_states(block.args, block.kwargs)
    for attention, feed_forward in product(_sites(mixing, calls), _sites(alone, calls)):
        with Patch() as patch:
            patch.change_output(attention.end, attention.without)
            patch.change_output(feed_forward.end, feed_forward.without)
            silent = block.again()
        if equal(silent, states):
            return dict(zip(HALVES, (attention, feed_forward), strict=True))
    raise ModelError(
        f"{block.path} does more than add the outputs of {found} to its input: {otherwise}"
    )


def children_of(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a block calls itself; T5 keeps its halves in a list."""
    for name, child in module.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from children_of(child, f"{path}.{name}")
        else:
            yield f"{path}.{name}", child


def _mixes(call: Call, tokens: int) -> bool:
    """Whether the output at the last token of the first row heeds the tokens before it."""
    given = first_states((*call.args, *call.kwargs.values()))
    other = given.clone()
    before = other.view(-1, given.shape[-1])[: tokens - 1]
    before.copy_(before.roll(1, dims=-1))
    # It may have flattened batch and tokens (OPT).
    last = [
        states.reshape(-1, states.shape[-1])[tokens - 1]
        for states in (call.states, call.again(lambda held: other if held is given else held))
    ]
    return not alike(*last)


def _sites(half: Sequence[Call], calls: Sequence[Call]) -> Iterator[Site]:
    """The ways in which a half may add to the stream, the usual one first."""
    last = half[-1]
    modules = tuple(call.module for call in half)
    times = Counter(call.path for call in calls)
    end = last
    for call in calls:  # a norm after it (Gemma 2), but not a dropout that serves both halves (Phi)
        follows = bool(call.args) and call.args[0] is end.output
        if follows and not call.weighs and times[call.path] == 1:
            end = call
    yield Site(last.path, modules, end.module, None)
    named: list[tuple[int | str, Any]] = [*enumerate(last.args), *last.kwargs.items()]
    for key, given in named:
        if isinstance(given, Tensor) and given.shape == last.states.shape:
            yield Site(last.path, modules, last.module, partial(_argument, key))


def _argument(key: int | str, args: Any, kwargs: Any) -> Tensor:
    states: Tensor = args[key] if isinstance(key, int) else kwargs[key]
    return states


def first_states(given: Sequence[Any]) -> Tensor:
    """The first argument that holds states."""
    return next(
        held
        for held in given
        if isinstance(held, Tensor) and held.is_floating_point() and held.dim() > 1
    )

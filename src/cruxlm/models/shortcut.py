"""The skip connections of a model, and a model whose skip passes less of the stream on.

A half that adds to the stream leaves x + branch(x), with branch the norm and what follows it. With
its skip scaled by gamma it leaves gamma x + branch(x) (Yang et al. 2022, who do it to residual
networks). What x is, is found by running the block, as its halves are: no class is named.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cruxlm.models.alike import alike, equal
from cruxlm.models.fingerprint import SCALED
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch, evaluation_mode, given_states
from cruxlm.models.sublayers import (
    HALVES,
    Call,
    Site,
    Stream,
    block_calls,
    calls_of,
    children_of,
    halves_of,
)
from cruxlm.runtime.errors import ModelError, OptionError

WHOLE = "block"
"""The half that a block's one skip is said to belong to, where both halves read the same stream."""
OTHERWISE = "only skips of blocks with such halves can be scaled"


@dataclass(frozen=True, eq=False)
class Skip:
    """One skip connection."""

    block: int
    """The block that it is in."""
    half: str
    """The half that it goes around: one of ``HALVES``, or ``WHOLE``."""
    name: str
    """Path of what it goes around."""
    end: nn.Module
    """The module whose output is added to the stream, or has been."""
    stream: Stream | None
    """The stream, from that module's arguments."""
    source: nn.Module | None
    """Else the module that is given it."""
    scale: float
    """What the block multiplies the output with before it adds it (Granite does)."""


def skips(model: LoadedModel) -> tuple[Skip, ...]:
    """Every skip connection of a model, as the stream passes them.

    Two a block: around attention and around the feed-forward half. One where both read what the
    block is given (Phi, GPT-J, Falcon).

    Raises:
        ModelError: When a block has no two halves, or normalises the stream after adding to it, so
            that the skip cannot be told from the branch.
    """
    tower = model.blocks.tower
    with evaluation_mode(tower), torch.no_grad():
        calls = block_calls(model)
        return tuple(skip for block, call in enumerate(calls) for skip in _of_block(block, call))


def skip_of(model: LoadedModel, block: int, half: str, known: Sequence[Skip] = ()) -> Skip:
    """One skip connection by its block and half.

    Args:
        model: The model.
        block: The block.
        half: ``attention`` or ``feed_forward``; ``block`` where a block has one skip.
        known: The model's skips, where they were found before.

    Raises:
        OptionError: When there is no such block or skip.
        ModelError: As ``skips``.
    """
    depth = len(model.blocks.modules)
    if not 0 <= block < depth:
        raise OptionError(f"there is no block {block}: the model has blocks 0 to {depth - 1}")
    found = {skip.half: skip for skip in known or skips(model) if skip.block == block}
    if half not in found:
        why = ", since its halves read the same stream" if WHOLE in found else ""
        raise OptionError(
            f"block {block} has no skip around {half!r}: it has {' and '.join(found)}{why}"
        )
    return found[half]


@contextmanager
def scaled(skip: Skip, gamma: float) -> Iterator[None]:
    """Have a skip pass gamma times the stream; everything is as before afterwards.

    With 1 nothing is touched. Otherwise (gamma - 1) times the stream is added to what the half
    adds, so that the result is exact to rounding of the stream: in half precision large entries
    leave a trace of 2^-9 of their size.

    Raises:
        OptionError: For a gamma that is not from 0 to 1.
        ModelError: When the skip is scaled already.
    """
    with Patch() as patch:
        _scale_in(patch, skip, gamma)
        yield


def suppress(skip: Skip, gamma: float) -> None:
    """Have a skip pass gamma times the stream for good; see ``scaled``.

    Raises:
        OptionError: For a gamma that is not from 0 to 1.
    """
    with Patch() as patch:
        _scale_in(patch, skip, gamma)
        patch.keep()


@contextmanager
def scaled_skip(model: LoadedModel, block: int, half: str, gamma: float) -> Iterator[None]:
    """Have one skip of a model pass gamma times the stream; see ``skip_of`` and ``scaled``.

    Raises:
        OptionError: When there is no such skip, or gamma is not from 0 to 1.
        ModelError: When the skips cannot be told.
    """
    with scaled(skip_of(model, block, half), gamma):
        yield


def _scale_in(patch: Patch, skip: Skip, gamma: float) -> None:
    if not 0 <= gamma <= 1:
        raise OptionError(f"a skip is scaled by 0 to 1, not {gamma}")
    if SCALED in vars(skip.end):
        raise ModelError(f"the skip around {skip.name} is scaled already: a skip is scaled once")
    if gamma == 1:
        return
    given: list[Tensor] = []  # kept: the end may be run again alone, as `sublayers` does

    def hold(states: Tensor) -> None:
        given[:] = [states]

    def less(states: Tensor, args: Any, kwargs: Any) -> Tensor:
        stream = skip.stream(args, kwargs) if skip.stream else given[-1]
        stream = stream.to(states.device, states.dtype)
        return states + (gamma - 1) / skip.scale * stream.reshape(states.shape)

    if skip.source is not None:
        patch.watch_input(skip.source, hold)
    patch.change_output(skip.end, less)
    patch.set_attribute(skip.end, SCALED, gamma)


def _of_block(block: int, call: Call) -> tuple[Skip, ...]:
    """The skips of one block."""
    halves = halves_of(call, OTHERWISE)
    for site in halves.values():
        _check_branch(call, site)
    attention, feed_forward = (halves[half] for half in HALVES)
    stream = given_states(call.args, call.kwargs)
    noise = _noise(stream)
    found = _Run(call, attention, feed_forward, noise, None)
    scale = _scale(call, found.output - stream, noise)
    # Whether what the feed-forward half adds depends on what attention has added.
    if equal(found.added, _Run(call, attention, feed_forward, None, None).added):
        return (Skip(block, WHOLE, call.path, call.module, given_states, None, 1.0),)
    second = _Run(call, attention, feed_forward, noise, noise).output - found.output
    return (
        Skip(
            block, HALVES[0], attention.name, attention.end, attention.stream,
            None if attention.stream else call.module, scale,
        ),
        Skip(
            block, HALVES[1], feed_forward.name, feed_forward.end, feed_forward.stream,
            None if feed_forward.stream else found.given(feed_forward), _scale(call, second, noise),
        ),
    )  # fmt: skip


class _Run:
    """A run of a block whose halves add what they are told to, nothing with None."""

    def __init__(
        self,
        call: Call,
        attention: Site,
        feed_forward: Site,
        first: Tensor | None,
        second: Tensor | None,
    ) -> None:
        self.path = call.path
        self.calls: list[Call] = []
        """The calls of what the block calls itself."""
        children = dict(children_of(call.module, call.path))

        def add(site: Site, what: Tensor | None) -> Any:
            def change(states: Tensor, args: Any, kwargs: Any) -> Tensor:
                if site is feed_forward:
                    self.added = states - site.without(states, args, kwargs)
                silent = site.without(states, args, kwargs)
                return silent if what is None else silent + what.reshape(states.shape)

            return change

        def run() -> None:
            self.output = call.again()

        with Patch() as patch:
            patch.change_output(attention.end, add(attention, first))
            patch.change_output(feed_forward.end, add(feed_forward, second))
            self.calls = calls_of(children, run)

    def given(self, site: Site) -> nn.Module:
        """The last module that is given the stream which a half adds to."""
        for call in reversed(self.calls[: _place(self.calls, site.end) + 1]):
            states = call.args[0] if call.args else call.kwargs.get("hidden_states")
            if (
                isinstance(states, Tensor)
                and states.numel() == self.output.numel()
                and equal(states.reshape(self.output.shape), self.output)
            ):
                return call.module
        raise ModelError(
            f"{self.path} does not show the stream that {site.name} adds to: {OTHERWISE}"
        )


def _place(calls: Sequence[Call], module: nn.Module) -> int:
    return max(place for place, call in enumerate(calls) if call.module is module)


def _noise(states: Tensor) -> Tensor:
    """Numbers of the size of the states that nothing else makes."""
    drawn = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    return (drawn * states.float().std().cpu()).to(states.device, states.dtype)


def _scale(call: Call, moved: Tensor, noise: Tensor) -> float:
    """What a block multiplies a half's output with."""
    if alike(moved, noise):
        return 1.0
    wide, moved = noise.double(), moved.double()
    scale = float((moved * wide).sum() / (wide * wide).sum())
    if scale == 0 or not math.isfinite(scale) or not alike(scale * wide, moved):
        raise ModelError(f"{call.path} does more than add to its input: {OTHERWISE}")
    return scale


def _check_branch(call: Call, site: Site) -> None:
    """Refuse a half that adds to the stream itself and then normalises the sum.

    With zeros for its matrices it would hand on something else than the stream. The stream is one
    that no norm has made: a second norm would leave what the first has left.
    """
    if site.stream is None:
        return
    states = given_states(call.args, call.kwargs)
    other = 3 * states + _noise(states)
    seen: list[bool] = []

    def see(states: Tensor, args: Any, kwargs: Any) -> Tensor:
        seen.append(alike(site.without(states, args, kwargs), states))
        return states

    with Patch() as patch:
        for module in site.modules:
            for part in module.modules():
                own = list(part.parameters(recurse=False))
                for parameter in own if any(held.dim() > 1 for held in own) else ():
                    patch.set_data(parameter, torch.zeros_like(parameter.data))
        patch.change_output(site.end, see)
        call.again(lambda held: other if held is states else held)
    if not all(seen):
        raise ModelError(
            f"{call.path} normalises the stream after adding to it (post-norm): the skip around "
            f"{site.name} cannot be told from the branch, and is not scaled"
        )

"""Run a model from one block on, on states that were computed before: exactly, and on any model.

The model's own forward pass runs, on the ids, mask and positions of the whole rows, so that the
embeddings, the masks and the rotary tables are its own. The blocks below do no work meanwhile: the
last of them returns the states that are given, the others what they are called with. No module is
replaced. A model whose blocks hand on more than their states (T5's first block makes the position
bias of all) is found out by running it both ways, and refused.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cruxlm.models.alike import alike, differing, equal, tensors
from cruxlm.models.batches import Batch, batches
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import (
    Arguments,
    Patch,
    StopForwardError,
    evaluation_mode,
    given_states,
)
from cruxlm.runtime.errors import CruxError, ModelError, OptionError

Form = Callable[[Tensor], Any]
"""Puts states in the form in which a block returns them."""
Given = Callable[[tuple[Any, ...], dict[str, Any]], Tensor | None]
"""From what a tower is called with to the states before a block; None where they are not known."""
CACHES = ("past_key_values", "cache_params", "state")
"""What a tower may be given that comes from a call before."""


class Prefix:
    """The part of a model that comes before a block, and the model without it.

    Outside of `from_states` the model is whole and untouched.
    """

    def __init__(self, model: LoadedModel, block: int) -> None:
        """Find out whether a model can be run from a block on.

        It takes a few passes over two short rows.

        Raises:
            OptionError: When there is no such block.
            ModelError: When the model, run from the block on, is not what it is as a whole.
        """
        depth = len(model.blocks.modules)
        if not 0 <= block < depth:
            raise OptionError(f"there is no block {block}: the model has blocks 0 to {depth - 1}")
        self.model = model
        """The model."""
        self.block = block
        """The block that is run first."""
        self._below = model.blocks.modules[:block]
        self._forms: dict[nn.Module, Form] = {}
        tower = model.blocks.tower
        self._knows_cache = "use_cache" in inspect.signature(tower.forward).parameters
        rows = two_rows()
        inputs = tower_inputs(rows, tower)
        with Patch() as patch:
            for module in self._below:
                patch.replace_forward(module, partial(self._learn_form, module, module.forward))
            states = self.capture(tower, **inputs)
        if states.shape[:2] != rows.tokens.shape:
            raise ModelError(self._misshapen(states))
        self.check(tower, **inputs)

    def of_lower(self, block: int) -> "Prefix":
        """The prefix of a block further down, which was not checked: see ``check``."""
        lower = copy.copy(self)
        lower.block = block
        lower._below = self.model.blocks.modules[:block]
        return lower

    def capture(self, run: nn.Module, /, **inputs: Any) -> Float[Tensor, "batch tokens width"]:
        """The states that the block reads, in evaluation mode and without gradients.

        The pass ends before the block.

        Args:
            run: What is called: the model, or its tower.
            inputs: What it is called with.

        Raises:
            ModelError: When the states have no such shape, or the pass does not get there.
        """
        seen: list[Tensor] = []
        see = partial(_keep_and_stop, seen)
        with Patch() as patch, evaluation_mode(run), torch.no_grad():
            self._run_without_cache(patch)
            if self._below:
                patch.watch_output(self._below[-1], see)
            else:
                patch.watch_input(self.model.blocks.modules[0], see)
            with suppress(StopForwardError):
                run(**inputs)
        if not seen:
            raise ModelError(f"{self.model.blocks.names[self.block]} is never reached in a pass")
        if seen[0].dim() != 3:
            raise ModelError(self._misshapen(seen[0]))
        return seen[0]

    @contextmanager
    def from_states(self, states: Float[Tensor, "batch tokens width"] | Given) -> Iterator[None]:
        """Have every forward pass begin at the block, with these states in place of its own.

        What the model is called with must be what the states were computed of, padded as they are.
        Gradients flow into the blocks from here on, and into the states if they want them. The
        model runs without a KV cache: of the blocks below it would be empty.

        Args:
            states: The states, or a function that is asked for those of each pass; a pass of which
                it knows none is run whole.

        Raises:
            ModelError: In a forward pass, when the states do not have the shape of the batch, or
                when a KV cache is handed to the model.
        """
        modules, tower = self.model.blocks.modules, self.model.blocks.tower
        if not self._below and any(
            part.training and getattr(part, "gradient_checkpointing", False)
            for part in tower.modules()
        ):
            # It is run once more in the backward pass, when the states are no longer given.
            raise ModelError("block 0 cannot be given states with gradient checkpointing")

        now = _Pass(states)
        with Patch() as patch:
            patch.change_arguments(tower, partial(self._begin, now))
            for module in self._below:
                form = self._forms[module]
                change = self._put_in if module is self._below[-1] else _unchanged
                rest = partial(self._return, now, form, change, module.forward)
                patch.replace_forward(module, rest)
            if not self._below:
                patch.change_arguments(modules[0], partial(self._give, now))
            yield

    def check(self, run: nn.Module, /, **inputs: Any) -> None:
        """Refuse a model that is not, from the block on, bit for bit what it is as a whole.

        Where the whole model does not repeat itself (a GPU may add up in any order), both ways must
        agree to rounding.

        Args:
            run: What is called: the model, or its tower.
            inputs: What it is called with.

        Raises:
            ModelError: When something that it returns differs.
        """
        outputs = partial(self.outputs, run, **inputs)
        whole, states = outputs(), self.capture(run, **inputs)
        said = f"{self.model.name} cannot be run from block {self.block} on"
        try:
            with self.from_states(states):
                part = outputs()
        except CruxError:
            raise
        except Exception as error:  # whatever a model runs into that misses something
            raise ModelError(f"{said}: {str(error) or type(error).__name__}") from error
        different = unequal(whole, part, outputs)
        if different:
            raise ModelError(
                f"{said}: its {different[0]} differs from the whole model's, because what "
                "comes before does more than hand on states"
            )

    def _misshapen(self, states: Tensor) -> str:
        return (
            f"{self.model.blocks.names[self.block]} reads states of shape {tuple(states.shape)}, "
            "not (batch, tokens, width): not supported"
        )

    def _learn_form(
        self, module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Run a block and see in what form it returns its states."""
        output = forward(*args, **kwargs)
        self._forms[module] = _form(output)
        return output

    def outputs(self, run: nn.Module, /, **inputs: Any) -> dict[str, Tensor]:
        """What a call returns, in evaluation mode and without gradients or a KV cache."""
        with Patch() as patch, evaluation_mode(run), torch.no_grad():
            self._run_without_cache(patch)
            return tensors(run(**inputs))

    def _begin(self, now: "_Pass", *args: Any, **kwargs: Any) -> Arguments:
        """Find the states of a pass that begins."""
        given = now.given
        now.states = given if isinstance(given, Tensor) else given(args, kwargs)
        return (args, kwargs) if now.states is None else self._without_cache(*args, **kwargs)

    def _return(
        self,
        now: "_Pass",
        form: Form,
        change: Callable[[Tensor, Tensor], Tensor],
        forward: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """What a block does that does no work."""
        if now.states is None:
            return forward(*args, **kwargs)
        return form(change(now.states, given_states(args, kwargs)))

    def _give(self, now: "_Pass", *args: Any, **kwargs: Any) -> Arguments:
        """The arguments of a block with other states."""
        if now.states is None:
            return args, kwargs
        states = self._put_in(now.states, given_states(args, kwargs))
        return (
            ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})
        )

    def _put_in(self, states: Tensor, given: Tensor) -> Tensor:
        """The states in place of those that are given, when they can be of the same batch."""
        if given.shape != states.shape:
            raise ModelError(
                f"states of shape {tuple(states.shape)} were given for block {self.block}, and "
                f"the batch has {tuple(given.shape)}: they are of another batch"
            )
        return states.to(given.device)

    def _run_without_cache(self, patch: Patch) -> None:
        patch.change_arguments(self.model.blocks.tower, self._without_cache)

    def _without_cache(self, *args: Any, **kwargs: Any) -> Arguments:
        caches = {name: kwargs[name] for name in CACHES if kwargs.get(name) is not None}
        # Some models make an empty one themselves before they call their tower (Idefics 3).
        if any(getattr(held, "get_seq_length", lambda: 1)() for held in caches.values()):
            raise ModelError(
                f"from block {self.block} on a model reads whole rows: call it without "
                "a KV cache (and do not generate with it)"
            )
        without = {"use_cache": False} if self._knows_cache else {}
        return args, {**kwargs, **without, **dict.fromkeys(caches)}


class _Pass:
    """The pass that is under way."""

    def __init__(self, given: Tensor | Given) -> None:
        self.given = given
        self.states: Tensor | None = None


def unequal(
    whole: Mapping[str, Tensor],
    part: Mapping[str, Tensor],
    again: Callable[[], Mapping[str, Tensor]],
) -> list[str]:
    """The names of what is not bit for bit the same in two passes.

    Where the whole model does not repeat itself, as ``again`` shows, they must agree to rounding.
    """
    different = differing(whole, part, equal)
    if different and differing(whole, again(), equal):
        return differing(whole, part, alike)
    return different


def two_rows() -> Batch:
    """Two short rows, one of them padded."""
    rows = [list(range(3, 11)), list(range(9, 4, -1))]
    return next(batches(rows, [[0], [0]], pooling="last", batch_size=2))


def _form(output: Any) -> Form:
    """The form of what a block returned: states, or a tuple that begins with them."""
    if isinstance(output, (tuple, list)) and output:
        kind = tuple if isinstance(output, tuple) else list
        first, rest = _form(output[0]), [None] * (len(output) - 1)
        return lambda states: kind([first(states), *rest])
    if not isinstance(output, Tensor):
        raise ModelError(f"a block passes on {type(output).__name__}, not a tensor of states")
    return lambda states: states


def _keep_and_stop(seen: list[Tensor], states: Tensor) -> None:
    seen.append(states)
    raise StopForwardError


def _unchanged(_states: Tensor, given: Tensor) -> Tensor:
    return given

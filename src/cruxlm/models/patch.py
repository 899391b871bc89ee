"""The one hook manager: everything that touches a live model goes through here and is undone.

A patch is a context manager. Whatever ends it (an exception and Ctrl-C included), the model has no
hook of ours left, and every module is in the mode (training or evaluation) that it was in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from cruxlm.runtime.errors import ModelError

Watcher = Callable[[Tensor], None]
"""Sees a module's input or output states, of shape (batch, tokens, width)."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""What a module is called with, by place and by keyword."""


Change = Callable[[Tensor, Any, Any], Tensor]
"""From the states that a module returns, and its arguments, to those that it is to return."""


class StopForwardError(Exception):
    """Raised by a watcher to end a forward pass once the last wanted state was seen."""


class Patch:
    """Watchers and changes on a model's modules, removed on exit."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def __enter__(self) -> "Patch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def watch_output(self, module: nn.Module, watcher: Watcher) -> None:
        """Call ``watcher`` with the states that the module returns."""

        def hook(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
            watcher(first_tensor(output))

        self._undo.append(module.register_forward_hook(hook, with_kwargs=True).remove)

    def watch_input(self, module: nn.Module, watcher: Watcher) -> None:
        """Call ``watcher`` with the states that the module is given, positional or by keyword."""

        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            watcher(given_states(args, kwargs))

        self._undo.append(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def skip(self, block: nn.Module) -> None:
        """Let a block pass its input states on unchanged (ablation by identity).

        The block still runs, so its cache is filled as ever.
        """
        self.change_output(block, lambda _states, args, kwargs: given_states(args, kwargs))

    def change_output(self, module: nn.Module, change: Change) -> None:
        """Have a module return ``change(states, args, kwargs)`` in place of its states.

        The module still runs, and what else it returns is its own.
        """

        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            return _with_states(output, change(first_tensor(output), args, kwargs))

        self._undo.append(module.register_forward_hook(hook, with_kwargs=True).remove)

    def set_data(self, tensor: Tensor, data: Tensor) -> None:
        """Give a parameter or buffer other data; its own are there again afterwards, uncopied."""
        own = tensor.data
        self._undo.append(lambda: setattr(tensor, "data", own))
        tensor.data = data

    def set_attribute(self, module: nn.Module, name: str, value: Any) -> None:
        """Give a module's own attribute another value."""
        held = vars(module)
        before = {name: held[name]} if name in held else {}

        def undo() -> None:
            held.pop(name, None)
            held.update(before)

        self._undo.append(undo)
        held[name] = value

    def hold(self, config: object) -> None:
        """Have a configuration hold afterwards what it holds now, whatever is set on it."""
        held = vars(config)
        before = dict(held)

        def undo() -> None:
            held.clear()
            held.update(before)

        self._undo.append(undo)

    def keep(self) -> None:
        """Leave what was changed up to now as it is, for good."""
        self._undo.clear()

    def change_arguments(self, module: nn.Module, change: Callable[..., Arguments]) -> None:
        """Call a module with what ``change(*args, **kwargs)`` returns in place of its arguments."""

        def hook(_module: nn.Module, args: Any, kwargs: Any) -> Arguments:
            return change(*args, **kwargs)

        self._undo.append(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    def replace_forward(self, module: nn.Module, function: Callable[..., Any]) -> None:
        """Have ``function`` run in place of a module's forward pass; its hooks run as ever.

        The module stays where it is, with its attributes and weights. A forward pass of its own
        (of Accelerate's, say) is there again afterwards.
        """
        self.set_attribute(module, "forward", function)


def given_states(args: Any, kwargs: Any) -> Tensor:
    """The states that a module is given, positional or by keyword."""
    return first_tensor(args) if args else first_tensor(kwargs.get("hidden_states"))


def first_tensor(value: Any) -> Tensor:
    """The states in what a block takes or returns: a tensor, or the first of a tuple."""
    while isinstance(value, (tuple, list)) and value:
        value = value[0]
    if not isinstance(value, Tensor):
        raise ModelError(f"a block passes on {type(value).__name__}, not a tensor of states")
    return value


def _with_states(value: Any, states: Tensor) -> Any:
    """What a block returns, with other states: a tensor, or the first of a tuple."""
    if isinstance(value, (tuple, list)):
        rest = [_with_states(value[0], states), *value[1:]]
        return tuple(rest) if isinstance(value, tuple) else rest
    return states


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and afterwards each module back in the mode it was in."""
    with _mode(model, training=False):
        yield


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in training mode, and afterwards each module back in the mode it was in."""
    with _mode(model, training=True):
        yield


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    others = [module for module in model.modules() if module.training is not training]
    model.train(training)
    try:
        yield
    finally:
        for module in others:
            module.training = not training

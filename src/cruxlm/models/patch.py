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


class StopForwardError(Exception):
    """Raised by a watcher to end a forward pass once the last wanted state was seen."""


class Patch:
    """Watchers and changes on a model's modules, removed on exit."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def __enter__(self) -> "Patch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def watch_output(self, module: nn.Module, watcher: Watcher) -> None:
        """Call ``watcher`` with the states that the module returns."""

        def hook(_module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
            watcher(first_tensor(output))

        self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def watch_input(self, module: nn.Module, watcher: Watcher) -> None:
        """Call ``watcher`` with the states that the module is given, positional or by keyword."""

        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            watcher(_given(args, kwargs))

        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def skip(self, block: nn.Module) -> None:
        """Let a block pass its input states on unchanged (ablation by identity).

        The block still runs, so its cache is filled as ever.
        """

        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            states = _given(args, kwargs)
            return (states, *output[1:]) if isinstance(output, tuple) else states

        self._handles.append(block.register_forward_hook(hook, with_kwargs=True))


def _given(args: Any, kwargs: Any) -> Tensor:
    """The states that a module is given, positional or by keyword."""
    return first_tensor(args) if args else first_tensor(kwargs.get("hidden_states"))


def first_tensor(value: Any) -> Tensor:
    """The states in what a block takes or returns: a tensor, or the first of a tuple."""
    while isinstance(value, (tuple, list)) and value:
        value = value[0]
    if not isinstance(value, Tensor):
        raise ModelError(f"a block passes on {type(value).__name__}, not a tensor of states")
    return value


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and afterwards each module back in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

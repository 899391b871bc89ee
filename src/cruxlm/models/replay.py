"""Passes over the same inputs again and again, each from the block on that it differs from.

A sweep runs one set of batches under many changes. What a change leaves alone, the states before
the lowest block that it touches, is remembered from one whole pass and never computed again.
"""

import hashlib
import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.models.patch import Arguments, Patch
from cruxlm.models.prefix import CACHES, Prefix, two_rows, unequal
from cruxlm.runtime.errors import ModelError

MEMORY = 1 << 30
"""Bytes of states that are kept in memory; what is more goes to a file."""
SPARE = 1 << 30
"""Bytes of a disk that are left free."""
Place = Callable[[], Tensor]
"""Gives a tensor that was stored, each time in memory of its own."""


class Replay:
    """What a model's tower was given, and the states that its blocks made of it.

    A pass begins at a block only if it is bit for bit what it is as a whole: that is tried once on
    two short rows. A model or block that this is not true of is run from further down, or whole.
    """

    def __init__(
        self, model: LoadedModel, *, memory: int = MEMORY, folder: Path | None = None
    ) -> None:
        """Find the blocks that the model can be run from; it takes a few short passes.

        Args:
            model: The model, as it is in all of the passes but for blocks that change.
            memory: Bytes of states that are kept in memory.
            folder: Where the file is for those that are more; by default the system's folder for
                such files. It is gone when the process is, however it ends.
        """
        self.model = model
        """The model."""
        self._signature = inspect.signature(model.blocks.tower.forward)
        self._store = _Store(memory, folder)
        self._passes: dict[bytes, list[Place]] = {}
        self._prefixes = self._checked()
        self._store, self._passes = _Store(memory, folder), {}  # without the short rows

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that passes can begin at."""
        return tuple(self._prefixes)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Remember the states before every block of each pass that comes by and is whole rows."""
        blocks, tower = self.model.blocks.modules, self.model.blocks.tower
        seen = _Recorded()

        def begin(*args: Any, **kwargs: Any) -> Arguments:
            key = self._key(args, kwargs)
            seen.begin(None if key in self._passes else key)
            return args, kwargs

        def end(_states: Tensor) -> None:
            if seen.key is not None and len(seen.states) == len(blocks) - 1:
                places = self._store.put(seen.states)
                if places is not None:
                    self._passes[seen.key] = places
            seen.begin(None)

        with Patch() as patch:
            patch.change_arguments(tower, begin)
            for index, block in enumerate(blocks[:-1]):
                patch.watch_output(block, partial(seen.add, index))
            patch.watch_input(blocks[-1], end)
            yield

    @contextmanager
    def from_block(self, block: int) -> Iterator[None]:
        """Have passes that were recorded begin at a block, or below it where they cannot.

        Passes that are not known, or that fill or read a KV cache, are run whole.
        """
        begun = max((known for known in self._prefixes if known <= block), default=0)
        if not begun or not self._passes:
            yield
            return
        with self._prefixes[begun].from_states(partial(self._states, begun)):
            yield

    def _states(self, block: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """The states before a block in a pass that was recorded."""
        key = self._key(args, kwargs)
        return self._passes[key][block - 1]() if key in self._passes else None

    def _checked(self) -> dict[int, Prefix]:
        """The prefixes of the blocks that the model can be run from."""
        tower, last = self.model.blocks.tower, len(self.model.blocks.modules) - 1
        if not last:
            return {}
        try:
            highest = Prefix(self.model, last)
        except ModelError:
            return {}
        outputs = partial(highest.outputs, tower, **tower_inputs(two_rows(), tower))
        with self.recording():
            whole = outputs()

        def exact(prefix: Prefix) -> bool:
            try:
                with prefix.from_states(partial(self._states, prefix.block)):
                    return not unequal(whole, outputs(), outputs)
            except Exception:  # whatever a model runs into that misses something
                return False

        prefixes = [highest.of_lower(block) for block in range(1, last + 1)]
        return {prefix.block: prefix for prefix in prefixes if exact(prefix)}

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
        """What a pass is known by: the bytes of its inputs; None for one that is no whole row."""
        tower = self.model.blocks.tower
        if tower.training:
            return None
        try:
            given = self._signature.bind(*args, **kwargs).arguments
        except TypeError:
            return None
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
        caching = given.get("use_cache")
        if caching is None and "use_cache" in self._signature.parameters:
            caching = getattr(text_config(tower), "use_cache", False)
        asked = any(value for name, value in given.items() if name.startswith("output_"))
        if caching or asked or any(given.get(name) is not None for name in CACHES):
            return None
        digest = hashlib.sha256()
        return digest.digest() if _read(digest, given) else None


class _Recorded:
    """The pass that is under way."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, key: bytes | None) -> None:
        """Start with nothing; without a key nothing is kept."""
        self.key = key
        self.states: list[Tensor] = []

    def add(self, index: int, states: Tensor) -> None:
        """Keep what block ``index`` returns, as long as each comes once and in turn."""
        if self.key is None:
            return
        if index != len(self.states):
            self.begin(None)
        else:
            # What comes after may write into it.
            self.states.append(states.detach().to("cpu", copy=True))


class _Store:
    """Tensors in memory, and beyond a bound in a file."""

    def __init__(self, memory: int, folder: Path | None) -> None:
        self.left = memory
        self.folder = folder
        self.file: IO[bytes] | None = None

    def put(self, tensors: list[Tensor]) -> list[Place] | None:
        """Store tensors; None when there is no room."""
        size = sum(tensor.nbytes for tensor in tensors)
        in_one_piece = all(tensor.is_contiguous() for tensor in tensors)
        if size <= self.left:
            self.left -= size
            return [tensor.clone for tensor in tensors]
        if not in_one_piece:  # in another order it might be added up in another order
            return None
        try:
            if self.file is None:
                self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
                weakref.finalize(self, self.file.close)
            if shutil.disk_usage(self.folder or tempfile.gettempdir()).free < size + SPARE:
                return None
            return [self._write(self.file, tensor) for tensor in tensors]
        except OSError:
            return None

    def _write(self, file: IO[bytes], tensor: Tensor) -> Place:
        begin = file.seek(0, os.SEEK_END)
        file.write(_bytes(tensor))
        return partial(_from_file, file, begin, tensor.shape, tensor.dtype)


def _from_file(file: IO[bytes], begin: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    file.seek(begin)
    if file.readinto(_bytes(tensor)) != tensor.nbytes:  # type: ignore[attr-defined]
        raise OSError("a file of states is shorter than it was")
    return tensor


def _bytes(tensor: Tensor) -> memoryview:
    """A tensor's memory, when it is on the CPU and in one piece."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data


def _read(digest: Any, value: Any) -> bool:
    """Put a value into a digest; False when it is no plain data."""
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}{value.device}".encode())
        digest.update(_bytes(value.cpu()))
        return True
    if isinstance(value, Mapping):
        digest.update(b"{")
        return all(_read(digest, str(k)) and _read(digest, value[k]) for k in sorted(value))
    if isinstance(value, (tuple, list)):
        digest.update(f"[{len(value)}".encode())
        return all(_read(digest, held) for held in value)
    digest.update(repr(value).encode())
    return value is None or isinstance(value, (bool, int, float, str))

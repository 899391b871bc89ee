"""Models built anew from their configurations, without weights, and in what two of them differ."""

import copy
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from cruxlm.models.load import UNUSABLE, quiet_transformers
from cruxlm.runtime.errors import ModelError

OF_TORCH = frozenset(vars(nn.ModuleList())) | {"_is_hf_initialized", "gradient_checkpointing"}
"""What every module holds, and what says nothing of how it was built."""
PLAIN = (int, float, str, type(None))


def built(kind: type, config: Any) -> nn.Module:
    """A model of a class as it is built from its configuration when that is read from disk.

    It has no weights: they are on the device ``meta``. The configuration is not changed.

    Raises:
        ModelError: When the class refuses the configuration.
    """
    try:
        with (
            quiet_transformers(),
            torch.random.fork_rng(devices=[]),
            TemporaryDirectory() as folder,
        ):
            copy.deepcopy(config).save_pretrained(folder)  # saving writes into it
            read = type(config).from_pretrained(folder)
            with torch.device("meta"):
                module: nn.Module = kind(read)
    except (*UNUSABLE, ArithmeticError) as error:
        line = next(
            (line for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise ModelError(f"{kind.__name__} cannot be built so: {line.strip()}") from error
    return module


def description(module: nn.Module) -> dict[str, Any]:
    """Everything plain that a module and those in it hold, by path: what makes it what it is.

    Classes, shapes of parameters and buffers, and attributes that are numbers, words or lists of
    such. Configurations are left out.
    """
    found: dict[str, Any] = {}
    for path, part in module.named_modules():
        at = f"{path}." if path else ""
        found[f"{at}class"] = type(part).__name__
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            found[at + name] = None if tensor is None else tuple(tensor.shape)
        for name, value in vars(part).items():
            if name not in OF_TORCH and _is_plain(value):
                found[at + name] = value
    return found


def differing_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names under which two descriptions hold something else."""
    absent = object()
    names = {**one, **other}
    return [name for name in names if one.get(name, absent) != other.get(name, absent)]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)

"""Whether two runs of a model gave the same: bit for bit, or to rounding."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same to rounding, in the mean of the squares.

    Computed in other batches, states differ by some 1e-6 of their size in float32 and by 1e-2 in
    bfloat16; of other rows or other weights they differ by far more.
    """
    if one.shape != other.shape:
        return False
    bound = 1e-3 if one.dtype in (torch.float32, torch.float64) else 5e-2
    one, other = one.float().nan_to_num(), other.float().nan_to_num()
    return bool((one - other).norm() <= bound * one.norm())


def tensors(value: Any, name: str = "output") -> dict[str, Tensor]:
    """Every tensor in what a model returns, by where it is."""
    if isinstance(value, Tensor):
        return {name: value}
    pairs: Any = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, (tuple, list)):
        pairs = ((f"{name}[{index}]", part) for index, part in enumerate(value))
    return {key: held for path, part in pairs for key, held in tensors(part, path).items()}


def differing(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], same: Callable[[Tensor, Tensor], bool]
) -> list[str]:
    """The names under which two models return something that is not the same."""
    names = {**one, **other}
    return [n for n in names if n not in one or n not in other or not same(one[n], other[n])]


def equal(one: Tensor, other: Tensor) -> bool:
    """Bit for bit; what is no number (in padding, say) is so in both."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())

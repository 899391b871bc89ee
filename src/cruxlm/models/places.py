"""A random number for every place that a model reads, made of what was read up to there.

So it is the same whatever the place is batched and padded with, and whether the tokens before it
are read again or kept in a KV cache.
"""

import inspect
from typing import Any

from jaxtyping import Int
from torch import Tensor

from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import input_embedding
from cruxlm.models.patch import Arguments, Patch
from cruxlm.runtime.errors import ModelError

ODD = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
"""Odd 64-bit multipliers (of SplitMix64, Steele et al. 2014)."""


class Places:
    """Watches what a model reads, as long as the patch lasts."""

    def __init__(self, model: LoadedModel, patch: Patch, seed: int) -> None:
        """Begin to watch.

        Raises:
            ModelError: When the model has no single module that embeds tokens.
        """
        embedding, self._tower = input_embedding(model.module), model.blocks.tower
        if embedding is None:
            raise ModelError(f"{model.name} has no one module that embeds tokens")
        self._seed = seed
        self._tokens: Tensor | None = None
        self._mask: Tensor | None = None
        self._read: Tensor | None = None
        patch.change_arguments(embedding, self._see_tokens)
        patch.change_arguments(self._tower, self._see_mask)

    def draw(self, count: int) -> Int[Tensor, "batch tokens"]:
        """A number from 0 to ``count - 1`` for each place of the pass that is under way.

        It is to be asked for once in a pass.
        """
        tokens, mask = self._tokens, self._mask
        if tokens is None:
            raise ModelError("what a model reads without token ids cannot be told apart")
        told = _mixed(tokens.long() + self._seed * ODD[2])
        past = 0
        if mask is not None and mask.dim() == 2:
            past = mask.shape[1] - tokens.shape[1]
            told = told * (mask[:, past:] != 0).to(told.device)
        # The sum of what was read: another one after every token, and padding adds nothing.
        read = told.cumsum(dim=1)
        if past and self._read is not None:
            read = read + self._read
        self._read = read[:, -1:]
        return _mixed(read).remainder(count)

    def _see_tokens(self, *args: Any, **kwargs: Any) -> Arguments:
        self._tokens = args[0] if args else kwargs["input"]
        return args, kwargs

    def _see_mask(self, *args: Any, **kwargs: Any) -> Arguments:
        given = inspect.signature(self._tower.forward).bind_partial(*args, **kwargs).arguments
        self._mask = given.get("attention_mask", given.get("kwargs", {}).get("attention_mask"))
        return args, kwargs


def _mixed(values: Int[Tensor, "batch tokens"]) -> Int[Tensor, "batch tokens"]:
    """Numbers that have nothing to do with each other, from numbers that may be neighbours."""
    for odd in ODD[:2]:
        values = (values ^ (values >> 29)) * odd
    return values ^ (values >> 32)

"""A random number for every place that a model reads, made of what was read up to there.

So it is the same whatever the place is batched and padded with, and whether the tokens before it
are read again or kept in a KV cache.
"""

from jaxtyping import Int
from torch import Tensor

from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch
from cruxlm.models.seen import Seen

ODD = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
"""Odd 64-bit multipliers (of SplitMix64, Steele et al. 2014)."""


class Places:
    """Watches what a model reads, as long as the patch lasts."""

    def __init__(self, model: LoadedModel, patch: Patch, seed: int) -> None:
        """Begin to watch; raises as ``Seen`` does."""
        self._seen = Seen(model, patch)
        self._seed = seed
        self._read: Tensor | None = None

    def draw(self, count: int) -> Int[Tensor, "batch tokens"]:
        """A number from 0 to ``count - 1`` for each place of the pass that is under way.

        It is to be asked for once in a pass.
        """
        told = _mixed(self._seen.tokens.long() + self._seed * ODD[2]) * self._seen.real
        # The sum of what was read: another one after every token, and padding adds nothing.
        read = told.cumsum(dim=1)
        if self._seen.past and self._read is not None:
            read = read + self._read
        self._read = read[:, -1:]
        return _mixed(read).remainder(count)


def _mixed(values: Int[Tensor, "batch tokens"]) -> Int[Tensor, "batch tokens"]:
    """Numbers that have nothing to do with each other, from numbers that may be neighbours."""
    for odd in ODD[:2]:
        values = (values ^ (values >> 29)) * odd
    return values ^ (values >> 32)

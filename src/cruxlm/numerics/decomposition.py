"""The principal components of one layer's states, and how its energy is spread over them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.numerics.grams import deviations


@dataclass(frozen=True)
class Decomposition:
    """The singular value decomposition of centred states, without the directions that are noise.

    Row i of the states less their mean is ``left[i] * singular @ right``, to rounding.
    """

    left: Float[Tensor, "samples rank"]
    """Orthonormal columns: where each sample lies along each component, in units of its length."""
    singular: Float[Tensor, " rank"]
    """Singular values, the largest first, float64."""
    right: Float[Tensor, "rank width"]
    """Orthonormal rows: the components as directions of the states. The largest entry of each is
    positive, so that equal states give equal signs."""
    mean: Float[Tensor, " width"]
    """The mean that was taken off."""

    @property
    def rank(self) -> int:
        """How many components there are."""
        return len(self.singular)

    @property
    def energy(self) -> Float[Tensor, " rank"]:
        """The share of the variance that each component holds."""
        squares = self.singular.square()
        return squares / squares.sum()

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the singular values' shares (Roy and Vetterli 2007)."""
        shares = self.singular / self.singular.sum()
        return float(torch.special.entr(shares).sum().exp())

    @property
    def participation_ratio(self) -> float:
        """The squared sum of the variances over the sum of their squares: 1 to ``rank``."""
        return float(1 / self.energy.square().sum())


def decompose(states: Float[Tensor, "samples width"]) -> Decomposition:
    """Decompose one layer's states, in float64.

    Singular values that are no larger than rounding of the states makes them are left out with
    their directions: ``eps * max(samples, width)`` times the largest, eps of the states' dtype.

    Raises:
        ValueError: When all states are the same.
    """
    eps = torch.finfo(states.dtype).eps
    wide = states.double()
    mean = wide.mean(dim=0)
    left, singular, right = torch.linalg.svd(deviations(wide), full_matrices=False)
    # The scale of rounding is that of the states themselves, their mean included.
    floor = eps * max(states.shape) * max(float(singular[0]), float(mean.abs().max()))
    rank = int((singular > floor).sum())
    if rank == 0:
        raise ValueError("all states are the same: there is no component")
    left, singular, right = left[:, :rank], singular[:rank], right[:rank]
    largest = right.gather(1, right.abs().argmax(dim=1, keepdim=True))
    sign = largest.sign().squeeze(1)
    return Decomposition(left * sign, singular, right * sign[:, None], mean)

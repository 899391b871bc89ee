"""A subspace of the states around a mean, and states with and without it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.numerics.decomposition import Decomposition


@dataclass(frozen=True)
class Subspace:
    """Orthonormal directions around a point."""

    directions: Float[Tensor, "k width"]
    """One direction a row; no rows for the subspace of nothing."""
    mean: Float[Tensor, " width"]
    """The point: states are measured from it."""

    def coordinates(self, states: Float[Tensor, "*place width"]) -> Float[Tensor, "*place k"]:
        """How far states lie along each direction."""
        return (states - self.mean.to(states)) @ self.directions.to(states).T

    def part(self, states: Float[Tensor, "*place width"]) -> Float[Tensor, "*place width"]:
        """What of the states, measured from the mean, lies in the subspace."""
        return self.coordinates(states) @ self.directions.to(states)


def components(found: Decomposition, chosen: list[int]) -> Subspace:
    """The subspace of some principal components, by their number from the largest on.

    Raises:
        ValueError: For a component that there is not.
    """
    missing = [number for number in chosen if not 0 <= number < found.rank]
    if missing:
        raise ValueError(f"component {missing[0]}: there are {found.rank}, counted from 0")
    return Subspace(found.right[chosen], found.mean)


def random_subspace(k: int, mean: Float[Tensor, " width"], seed: int) -> Subspace:
    """``k`` directions drawn uniformly around a mean."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(len(mean), k, generator=draw, dtype=torch.float64)
    return Subspace(torch.linalg.qr(directions).Q.T.contiguous(), mean)

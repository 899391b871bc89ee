"""Principal components of more samples than fit into memory, filled batch by batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """Variances along the principal directions of a stream of samples."""

    variances: Float[Tensor, " width"]
    """The largest first, float64, with the divisor n - 1."""
    directions: Float[Tensor, "width width"]
    """A direction in each row."""
    mean: Float[Tensor, " width"]
    """The mean of all samples."""
    samples: int
    """How many there were."""


class CovarianceAccumulator:
    """Mean and scatter of samples, one batch after another; merging is exact to rounding.

    Batches are joined by the update of Chan, Golub and LeVeque 1983, in which nothing large is
    subtracted from anything large.
    """

    mean: Float[Tensor, " width"]
    """Mean of the samples so far."""
    scatter: Float[Tensor, "width width"]
    """Sum of the outer products of their deviations from it."""
    samples: int
    """How many there are."""

    def __init__(self, width: int) -> None:
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.scatter = torch.zeros(width, width, dtype=torch.float64)
        self.samples = 0

    def update(self, states: Float[Tensor, "batch width"]) -> "CovarianceAccumulator":
        """Add samples."""
        if not len(states):
            return self
        wide = states.double()
        mean = wide.mean(dim=0)
        centred = wide - mean
        return self._join(len(states), mean, centred.T @ centred)

    def merge(self, other: "CovarianceAccumulator") -> "CovarianceAccumulator":
        """Add what another has seen."""
        return self._join(other.samples, other.mean, other.scatter)

    def compute(self) -> Spectrum:
        """The frozen result; ``ValueError`` from fewer than two samples."""
        if self.samples < 2:
            raise ValueError(f"{self.samples} samples: two are needed for a variance")
        variances, directions = torch.linalg.eigh(self.scatter / (self.samples - 1))
        return Spectrum(
            variances.flip(0), directions.flip(1).T.contiguous(), self.mean.clone(), self.samples
        )

    def _join(
        self, count: int, mean: Float[Tensor, " width"], scatter: Float[Tensor, "width width"]
    ) -> "CovarianceAccumulator":
        if count == 0:
            return self
        both = self.samples + count
        apart = mean - self.mean
        self.scatter += scatter + torch.outer(apart, apart) * (self.samples * count / both)
        self.mean += apart * (count / both)
        self.samples = both
        return self

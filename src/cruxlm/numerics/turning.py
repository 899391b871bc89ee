"""How far each block turns the states that pass through it: cosines and angles."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cosines(
    before: Float[Tensor, "samples width"], after: Float[Tensor, "samples width"]
) -> Float[Tensor, " samples"]:
    """Cosine between two states of each sample, in float64; NaN where a state is zero."""
    a, b = before.double(), after.double()
    lengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return torch.div((a * b).sum(1), lengths)


def angles(
    before: Float[Tensor, "samples width"], after: Float[Tensor, "samples width"]
) -> Float[Tensor, " samples"]:
    """Angle between two states of each sample as a share of pi, 0 to 1.

    From the half-angle tangent of the unit vectors, which keeps its digits where arccos of a cosine
    near 1 loses half of them.
    """
    a = torch.nn.functional.normalize(before.double(), dim=1)
    b = torch.nn.functional.normalize(after.double(), dim=1)
    apart, along = (torch.linalg.vector_norm(v, dim=1) for v in (a - b, a + b))
    return 2 * torch.atan2(apart, along) / torch.pi


def group_sums(
    values: Float[Tensor, "layers samples"], member: Int[Tensor, " samples"], groups: int
) -> Float[Tensor, "layers groups"]:
    """Sums over each group of samples, in float64."""
    sums = torch.zeros(values.shape[0], groups, dtype=torch.float64)
    return sums.index_add_(1, member, values.double())

r"""How much of a shift between two layers lies in some directions: it goes away without them.

The shift is :math:`s = 1 - CKA(X, Y)` of the states that enter and leave a block. Without
directions R, both with their part along R projected off (they are states of one residual stream),
it is :math:`s_R`; the share of R is :math:`1 - s_R / s`: 1 where all of the shift lies in R, 0
where R has nothing to do with it, negative where R holds what the layers have in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.numerics.grams import deviations
from cruxlm.numerics.resampling import Resampling, jackknife_stderr
from cruxlm.numerics.similarity import cka

CLEAR = 2.0
"""Standard errors that a shift must be above zero for shares of it to be given."""


@dataclass(frozen=True)
class Attribution:
    """A shift, and the share of it that each set of directions holds."""

    shift: float
    """1 - CKA of the two layers."""
    stderr: float | None
    """Its standard error; None without groups."""
    shares: Float[np.ndarray, " sets"]
    """One a set; NaN where the shift is not clear of zero."""
    shares_stderr: Float[np.ndarray, " sets"] | None
    """Their standard errors, the directions as they are; None without groups."""


def attribute(
    before: Float[Tensor, "samples width"],
    after: Float[Tensor, "samples width"],
    sets: Sequence[Float[Tensor, "_ width"]],
    *,
    strata: Int[Tensor, " samples"] | None = None,
    resampling: Resampling | None = None,
) -> Attribution:
    """The share of the shift between two layers that each set of orthonormal directions holds.

    Projections in float64, debiased CKA as ``cka`` computes it, errors by the jackknife over the
    resampling's groups, with the directions as they are.
    """
    layers = [deviations(layer.double(), strata) for layer in (before, after)]
    pairs = [*layers]
    for directions in sets:
        along = directions.to(layers[0])
        pairs += [layer - (layer @ along.T) @ along for layer in layers]
    states = torch.stack([layer.to(before.dtype) for layer in pairs])
    found = cka(states, strata=strata, resampling=resampling, band=1)
    shifts = _of_pairs(found.values)
    shares = 1 - shifts[1:] / shifts[0]
    if found.left_out is None or found.stderr is None:
        return Attribution(float(shifts[0]), None, shares.numpy(), None)
    left_out = _of_pairs(found.left_out)
    errors = jackknife_stderr(1 - left_out[:, 1:] / left_out[:, :1])
    stderr = float(found.stderr[0, 1])
    clear = bool(shifts[0] > CLEAR * stderr)
    shares = torch.where(torch.tensor(clear), shares, torch.nan)
    errors = torch.where(torch.tensor(clear), errors, torch.nan)
    return Attribution(float(shifts[0]), stderr, shares.numpy(), errors.numpy())


def _of_pairs(similarity: Float[Tensor, "*batch layers layers"]) -> Float[Tensor, "*batch pairs"]:
    """1 - CKA of layers 0 and 1, 2 and 3, and so on."""
    return 1 - torch.diagonal(similarity, offset=1, dim1=-2, dim2=-1)[..., ::2]

"""Scores that are means over samples: their errors and half-samples from group sums."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.criteria.descriptor import Outcome
from cruxlm.numerics.resampling import Resampling, jackknife_stderr
from cruxlm.numerics.turning import group_sums


def mean_outcome(
    values: Float[Tensor, "blocks samples"], blocks: int, resampling: Resampling
) -> Outcome:
    """The mean over samples for each block, NaN for blocks past the last row of ``values``.

    Samples without a value (NaN: a state of zeros) are left out of the mean and counted.
    """
    defined = torch.isfinite(values)
    sums = group_sums(values.nan_to_num(0.0), resampling.member, resampling.groups)
    counts = group_sums(defined.double(), resampling.member, resampling.groups)
    mean = sums.sum(1) / counts.sum(1)
    stderr = halves = None
    if resampling.groups > 1:
        left_out = (sums.sum(1, keepdim=True) - sums) / (counts.sum(1, keepdim=True) - counts)
        stderr = _padded(jackknife_stderr(left_out.T), blocks)
        picked = resampling.halves.double()
        halves = _padded((picked @ sums.T) / (picked @ counts.T), blocks)
    undefined = int((~defined).sum())
    warnings = (f"{undefined} states are zero and have no direction",) if undefined else ()
    return Outcome(_padded(mean, blocks), stderr, halves, warnings=warnings)


def _padded(values: Tensor, blocks: int) -> Float[np.ndarray, "..."]:
    missing = blocks - values.shape[-1]
    return np.asarray(torch.nn.functional.pad(values, (0, missing), value=torch.nan).numpy())

"""Scores that are means over samples: their errors and half-samples from group sums."""

from dataclasses import replace

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
    outcome = ratio_outcome(values.nan_to_num(0.0), defined.double(), blocks, resampling)
    undefined = int((~defined).sum())
    warnings = (f"{undefined} states are zero and have no direction",) if undefined else ()
    return replace(outcome, warnings=warnings)


def ratio_outcome(
    values: Float[Tensor, "blocks samples"],
    over: Float[Tensor, "blocks samples"],
    blocks: int,
    resampling: Resampling,
) -> Outcome:
    """The sum of ``values`` over that of ``over`` for each block, NaN past their last row.

    Both sums are of the same samples, so errors and half-samples are those of a ratio.
    """
    sums = group_sums(values, resampling.member, resampling.groups)
    counts = group_sums(over, resampling.member, resampling.groups)
    mean = sums.sum(1) / counts.sum(1)
    stderr = halves = None
    if resampling.groups > 1:
        left_out = (sums.sum(1, keepdim=True) - sums) / (counts.sum(1, keepdim=True) - counts)
        stderr = _padded(jackknife_stderr(left_out.T), blocks)
        picked = resampling.halves.double()
        halves = _padded((picked @ sums.T) / (picked @ counts.T), blocks)
    return Outcome(_padded(mean, blocks), stderr, halves)


def _padded(values: Tensor, blocks: int) -> Float[np.ndarray, "..."]:
    missing = blocks - values.shape[-1]
    return np.asarray(torch.nn.functional.pad(values, (0, missing), value=torch.nan).numpy())

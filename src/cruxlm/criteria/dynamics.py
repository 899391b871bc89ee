"""Representation dynamics: blocks whose states are least like their neighbours'.

Liu et al., "Spectral Insights into Data-Oblivious Critical Layers in LLMs", Findings of ACL 2025:
delta^l is the mean CKA of layer l with its neighbours in a window; the lower, the more critical.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cruxlm.criteria.descriptor import Criterion, Measured, Outcome
from cruxlm.numerics.outliers import TOPS, energy_share, largest_dimensions
from cruxlm.numerics.resampling import jackknife_stderr
from cruxlm.numerics.similarity import Estimator, Similarity, cka
from cruxlm.runtime.errors import OptionError

Ends = Literal["keep", "drop"]

DOMINATED = 0.5
"""Share of a layer's Gram in one dimension above which a warning says so."""


def neighbours(
    blocks: int, window: int, include_self: bool
) -> tuple[Float[np.ndarray, "blocks blocks"], Bool[np.ndarray, " blocks"]]:
    """Weights that average each block's neighbours in the window, and which windows are cut.

    The window is centred and counts the block itself (3 reaches one block either side). A block
    near an end has the neighbours that exist. Raises ``OptionError`` for an even window.
    """
    if window < 3 or window % 2 == 0:
        raise OptionError(f"window must be odd and 3 or more, not {window}")
    distance = np.abs(np.subtract.outer(np.arange(blocks), np.arange(blocks)))
    inside = distance <= window // 2
    if not include_self:
        inside &= distance > 0
    counts = inside.sum(axis=1)
    full = window if include_self else window - 1
    weights = np.divide(
        inside, counts[:, None], where=counts[:, None] > 0, out=np.zeros(inside.shape)
    )
    return weights, counts < full


def delta(
    similarity: Float[np.ndarray, "*batch blocks blocks"],
    *,
    window: int,
    include_self: bool,
    ends: Ends,
) -> Float[np.ndarray, "*batch blocks"]:
    """Mean similarity of each block with its neighbours (project page of Liu et al., delta^l).

    ``ends="drop"`` makes blocks whose window is cut NaN, as the paper leaves them out.
    """
    weights, cut = neighbours(similarity.shape[-1], window, include_self)
    # Pairs outside the band may be NaN and have no weight.
    mean = np.where(weights > 0, similarity * weights, 0.0).sum(axis=-1)
    undefined = ~(weights > 0).any(axis=1) | (cut & (ends == "drop"))
    return np.where(undefined, np.nan, mean)


def score_dynamics(
    measured: Measured, *, estimator: Estimator, window: int, include_self: bool, ends: Ends
) -> Outcome:
    """1 - delta for each block, with jackknife errors and half-sample replicates."""
    states = measured.states[1:]
    blocks, samples, width = states.shape
    shape: dict[str, Any] = {"window": window, "include_self": include_self, "ends": ends}

    def similarity(**more: Any) -> Similarity:
        return cka(
            states,
            estimator=estimator,
            strata=measured.strata,
            resampling=measured.resampling,
            **more,
        )

    found = similarity()
    values = delta(found.values.numpy(), **shape)
    stderr = halves = None
    if found.left_out is not None and found.contributions is not None and found.halves is not None:
        left_out = torch.from_numpy(delta(found.left_out.numpy(), **shape))
        contributions = torch.from_numpy(delta(found.contributions.numpy(), **shape))
        stderr = jackknife_stderr(left_out, contributions).numpy()
        halves = 1 - delta(found.halves.numpy(), **shape)
    warnings = _warnings(found.values, estimator, samples, width)
    evidence = _outliers(measured, width)
    without = [
        _without(similarity, measured, count, shape) if count < width else None for count in TOPS
    ]
    evidence["score_without_top_dims"] = without
    shares = np.array(evidence["gram_share_top_dims"][0], dtype=float)
    if shares.max() > DOMINATED:
        worst = int(shares.argmax())
        warnings.append(
            f"one of {width} dimensions holds {shares[worst]:.0%} of the Gram at block {worst}: "
            "compare the score without the largest dimensions"
        )
    _, cut = neighbours(blocks, window, include_self)
    tensors = {"cka": found.values.numpy()}
    if found.stderr is not None:
        tensors["cka_stderr"] = found.stderr.numpy()
    return Outcome(
        values=1 - values,
        stderr=stderr,
        halves=halves,
        series={"delta": values},
        tensors=tensors,
        evidence=evidence,
        warnings=tuple(warnings),
        incomplete=tuple(np.flatnonzero(cut).tolist()),
    )


def _warnings(values: Tensor, estimator: Estimator, samples: int, width: int) -> list[str]:
    warnings = []
    flat = torch.diagonal(values).isnan().nonzero().flatten().tolist()
    if flat:
        warnings.append(
            f"the states of block {flat[0]} are the same for every prompt: similarity is undefined "
            "there (is the last token always alike?)"
        )
    if estimator == "biased" and samples < 4 * width:
        warnings.append(
            f"biased CKA with n = {samples} < 4 x width = {4 * width}: independent states would "
            "look alike; use the default preset to conclude anything"
        )
    return warnings


def _outliers(measured: Measured, width: int) -> dict[str, Any]:
    """Gram energy of the largest dimensions of each block's states."""
    states, strata = measured.states[1:], measured.strata
    shares: list[list[float | None]] = [[] for _ in TOPS]
    for layer in states:
        largest = largest_dimensions(layer, min(max(TOPS), width), strata)
        for row, count in zip(shares, TOPS, strict=True):
            row.append(energy_share(layer, largest[:count], strata) if count < width else None)
    return {"top_dims": list(TOPS), "width": width, "gram_share_top_dims": shares}


def _without(
    similarity: Any, measured: Measured, count: int, shape: dict[str, Any]
) -> list[float | None]:
    """The scores when each block's ``count`` largest dimensions are left out."""
    states, strata = measured.states[1:], measured.strata
    drop = torch.stack([largest_dimensions(layer, count, strata) for layer in states])
    found = similarity(drop=drop, band=shape["window"] // 2)
    return [float(value) for value in 1 - delta(found.values.numpy(), **shape)]


DYNAMICS = Criterion(
    name="dynamics",
    title="Where does the representation turn? 1 - mean CKA with the neighbouring blocks",
    unit="block",
    needs=frozenset({"states"}),
    cost="one forward pass over the probe",
    invariances=frozenset(
        {"sample_order", "scale", "layer_scale", "rotation", "layer_rotation", "shift"}
    ),
    citation=(
        "Liu, Hsiung, Yang, Yan: Spectral Insights into Data-Oblivious Critical Layers in LLMs. "
        "Findings of ACL 2025, arXiv:2506.00382"
    ),
    presets={
        "default": {"estimator": "debiased", "window": 3, "include_self": False, "ends": "keep"},
        "paper": {"estimator": "biased", "window": 5, "include_self": True, "ends": "drop"},
    },
    score=score_dynamics,
    centres=True,
)
"""The criterion ``dynamics`` (alias ``cka``)."""

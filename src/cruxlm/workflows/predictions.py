"""The statistics of a verification: every predictor against every measured curve, over pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.criteria.agreement import depth_agreement, prediction
from cruxlm.numerics.joint import joint_association
from cruxlm.numerics.rank_intervals import mean_interval
from cruxlm.numerics.ranks import Curve, kendall, pearson, top_overlap
from cruxlm.results.scores import Scores
from cruxlm.results.verification import Prediction, VerifiedPair
from cruxlm.runtime.errors import OptionError

TOP = 0.25
"""Share of the blocks whose overlap is counted: a scan selects about as many."""


def predicted(
    pairs: Sequence[VerifiedPair], predictor: str, target: str, *, seed: int
) -> tuple[Prediction, ...]:
    """Every predictor against every target; the one that was asked about first."""
    predictors = list(dict.fromkeys((predictor, *pairs[0].predictors)))
    targets = list(dict.fromkeys((target, *pairs[0].measured)))
    return tuple(
        _prediction(
            [(pair.predictors[before], pair.measured[after], pair.run) for pair in pairs],
            before,
            after,
            seed,
        )
        for after in targets
        for before in predictors
    )


def measured_depth(pairs: Sequence[VerifiedPair]) -> dict[str, Any]:
    """How far depth alone gives each measured curve's ranking, mean over pairs."""
    found = {}
    for target in pairs[0].measured:
        held = [depth_agreement(pair.measured[target]) for pair in pairs]
        found[target] = {
            name: _mean([agreement[name] for agreement in held])
            for name in ("index", "end_distance", "explained")
        }
    return found


def _prediction(
    cells: Sequence[tuple[Scores, Scores, str]], predictor: str, target: str, seed: int
) -> Prediction:
    curves = [comparable(before, after) for before, after, _ in cells]
    runs = [run for _, _, run in cells]
    joint = joint_association(curves, runs, seed=seed)
    ends = mean_interval(
        [
            (_uncertain(before, a), after.tensors["per_example"])
            for (before, after, _), (a, _) in zip(cells, curves, strict=True)
        ],
        seed=seed,
    )
    if not joint.centres:
        raise OptionError(
            f"{predictor} and {target} have no block in common: the model has too few blocks"
        )
    k = max(1, round(TOP * joint.centres))
    overlaps = [top_overlap(a, b, k) for a, b in curves]
    whole = [(a[np.isfinite(a)], b[np.isfinite(b)]) for a, b in curves]
    by_pair = [joint_association([pair], ["one"]).rho for pair in curves]
    return Prediction(
        predictor=predictor,
        target=target,
        rho=joint.rho,
        low=None if ends is None else ends[0],
        high=None if ends is None else ends[1],
        kendall=_mean([kendall(a, b) for a, b in whole]),
        pearson=_mean([pearson(a, b) for a, b in whole]),
        partial=joint.partial,
        p=joint.p,
        p_shared=joint.p_shared,
        p_rho=joint.p_rho,
        fewest_p=joint.fewest_p,
        centres=joint.centres,
        overlap={
            "k": k,
            "shared": float(np.mean([o.shared for o in overlaps])),
            "expected": float(np.mean([o.expected for o in overlaps])),
            "corrected": _mean([o.corrected for o in overlaps]),
        },
        by_pair=tuple(by_pair),
        reasons=joint.reasons,
        verdict=prediction(joint),
    )


def _uncertain(scores: Scores, curve: Curve) -> Float[np.ndarray, "..."]:
    """The curve on half-samples, where there are any, over the blocks that it is compared at."""
    if scores.halves is None or not len(scores.halves):
        return curve
    return np.where(np.isfinite(curve), scores.halves, np.nan)


def comparable(before: Scores, after: Scores) -> tuple[Curve, Curve]:
    """Two curves over the blocks that both have whole: NaN where one has fewer neighbours."""
    a, b = before.values.copy(), after.values.copy()
    for curve, scores in ((a, before), (b, after)):
        curve[list(scores.incomplete)] = np.nan
    missing = ~(np.isfinite(a) & np.isfinite(b))
    a[missing] = b[missing] = np.nan
    return a, b


def finding(predictions: Sequence[Prediction], pairs: Sequence[VerifiedPair]) -> str:
    """The verdict of the first prediction, with what a reader needs to weigh it."""
    asked = predictions[0]
    width = asked.target.removeprefix("window ")
    what = "each block" if width == "1" else f"each run of {width} blocks"
    over = f"{len(pairs)} pairs" if len(pairs) > 1 else "one pair"
    said = f"{asked.predictor} before fine-tuning {_VERDICTS[asked.verdict]}"
    rho = "undefined" if asked.rho is None else f"{asked.rho:.2f}"
    numbers = f"rho {rho} with what undoing {what} costs"
    if asked.low is not None and asked.high is not None:
        numbers += f" (95 % {asked.low:.2f} to {asked.high:.2f})"
    if asked.partial is None:
        numbers += ", undefined given depth"
        numbers += f" ({asked.reasons[0]})" if asked.reasons else ""
    else:
        numbers += f", {asked.partial:.2f} given depth (p {asked.p:.2f}"
        if len({pair.run for pair in pairs}) > 1 and asked.p_shared is not None:
            # Models of one architecture may share a shape, and then p is too small.
            numbers += f"; {asked.p_shared:.2f} with all runs shifted alike"
        numbers += ")"
    numbers += f"; {over}, {asked.centres} blocks."
    if asked.verdict == "too few blocks to say":
        numbers += f" No p-value below {asked.fewest_p:.2f} is possible with so few."
    others = [
        found.predictor
        for found in predictions[1:]
        if found.target == asked.target and found.verdict == "predicts beyond depth"
    ]
    if others:
        numbers += f" Beyond depth it is predicted by {' and '.join(others)}."
    return f"{said}: {numbers}"


_VERDICTS = {
    "predicts beyond depth": "predicts, beyond depth, which blocks fine-tuning changed",
    "not distinguishable from depth": "predicts which blocks fine-tuning changed no better than "
    "their depth does",
    "does not predict": "does not predict which blocks fine-tuning changed",
    "too few blocks to say": "cannot be verified here, there are too few blocks to say",
}


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that are defined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None

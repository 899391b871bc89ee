"""Calibration: how often "beyond depth" is said when it should not be, and when it should.

The design demands that over null draws of smooth, depth-correlated curves "beyond depth" is said in
at most 5 % (plus error), and that 95 % intervals hold the truth in 90 to 98 % of draws.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from cruxlm.criteria.agreement import PREDICTS, prediction
from cruxlm.criteria.per_sample import mean_outcome
from cruxlm.numerics.joint import Joint, joint_association
from cruxlm.numerics.rank_intervals import association_interval
from cruxlm.numerics.ranks import Curve, association
from cruxlm.numerics.resampling import deal
from cruxlm.studies.calibration_draws import NULLS, Pairs, Rng, planted, shared_shapes
from cruxlm.studies.calibration_page import calibration_page
from cruxlm.studies.study import Cell, Study

BLOCKS = (12, 16, 22, 32)
"""Depths of the models that are simulated."""
RUNS = (1, 3, 5)
"""Independent base models."""
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Parts of the variance left by depth that planted curves share."""
INTERVALS = ((0.3, False), (0.6, False), (0.3, True))
"""Standard errors of a curve's values, in standard deviations of what depth leaves of it; and
whether the interval is of the correlation given depth."""
LEVEL = 0.05
"""Level of the textbook's test."""
COST = {1: 0.004, 3: 0.007, 5: 0.011}
"""Seconds of a draw, by runs."""
INTERVAL_COST = 0.12
"""Seconds of an interval."""
PROMPTS, EXAMPLES = 100, 200
"""Samples that a prediction is a mean over, and an outcome."""


def null(*, blocks: int, runs: int, draws: int, seed: int) -> dict[str, Any]:
    """What is said of curves that have nothing in common but depth, by family."""
    found = {}
    for number, (family, (_, draw)) in enumerate(NULLS.items()):
        rng = np.random.default_rng([seed, blocks, runs, number])
        found[family] = _tally(
            ([draw(rng, blocks) for _ in range(runs)] for _ in range(draws)), draws
        )
    return found


def null_of_one_shape(*, blocks: int, runs: int, draws: int, seed: int) -> dict[str, Any]:
    """The same of runs that share an architecture's shape, which independent shifts leave out."""
    rng = np.random.default_rng([seed, blocks, runs])
    return _tally((shared_shapes(rng, blocks, runs) for _ in range(draws)), draws)


def power(*, blocks: int, runs: int, shares: list[float], draws: int, seed: int) -> dict[str, Any]:
    """What is said of curves with a part in common that is not depth, by the size of the part."""
    found = {}
    for number, share in enumerate(shares):
        rng = np.random.default_rng([seed, blocks, runs, number])
        found[f"{share:g}"] = _tally(
            ([planted(rng, blocks, share) for _ in range(runs)] for _ in range(draws)), draws
        )
    return found


def _tally(worlds: Iterable[list[Pairs]], draws: int) -> dict[str, Any]:
    """How often each sentence is said, of so many worlds of runs with their pairs of curves."""
    said: Counter[str] = Counter()
    rhos, shared, textbook = [], 0, 0
    for number, world in enumerate(worlds):
        pairs = [pair for run in world for pair in run]
        found = joint_association(
            pairs, [name for name, run in enumerate(world) for _ in run], seed=number
        )
        said[prediction(found)] += 1
        rhos.append(np.nan if found.rho is None else found.rho)
        shared += _beyond_by_shared_shifts(found)
        textbook += spearmanr(*pairs[0], alternative="greater").pvalue <= LEVEL
    return {
        "said": dict(sorted(said.items())),
        "beyond_by_shared_shifts": shared,
        "textbook_p": int(textbook),
        "median_rho": float(np.nanmedian(rhos)),
        "draws": draws,
    }


def _beyond_by_shared_shifts(found: Joint) -> bool:
    """Whether one shift for all runs says so too, which it cannot of fewer than 20 blocks."""
    return found.p_shared is not None and found.p_shared <= PREDICTS and (found.rho or 0) > 0


def interval(
    *, blocks: int, noise: float, given_depth: bool, draws: int, seed: int
) -> dict[str, Any]:
    """How often the interval of a rank correlation holds that of the curves without noise.

    Prediction and outcome are means over samples, each with an error of ``noise``; some examples
    are hard in all blocks. ``given_depth`` makes it the partial correlation.
    """
    rng = np.random.default_rng([seed, blocks, round(1000 * noise)])
    truths, estimates, ends = np.empty(draws), np.empty(draws), np.empty((draws, 2))
    for draw in range(draws):
        one, two, truths[draw] = _related(rng, blocks, given_depth)
        prompts = rng.standard_normal((blocks, PROMPTS)) * noise * np.sqrt(PROMPTS) + one[:, None]
        losses = rng.standard_normal((blocks, EXAMPLES)) * noise * np.sqrt(EXAMPLES) + two[:, None]
        losses += 3 * rng.standard_normal(EXAMPLES)
        scan = mean_outcome(torch.from_numpy(prompts), blocks, deal(range(PROMPTS), seed=draw))
        assert scan.halves is not None  # of a hundred prompts
        seen = _correlation(scan.values, losses.mean(axis=1), given_depth)
        estimates[draw] = np.nan if seen is None else seen
        found = association_interval(scan.halves, losses, given_depth=given_depth, seed=draw)
        ends[draw] = (np.nan, np.nan) if found is None else found
    low, high = ends.T
    return {
        "mean_truth": truths.mean(),
        "mean_estimate": np.nanmean(estimates),
        "held": int(((low <= truths) & (truths <= high)).sum()),
        "above": int((truths > high).sum()),
        "below": int((truths < low).sum()),
        "mean_width": np.nanmean(high - low),
        "draws": draws,
    }


def _related(rng: Rng, blocks: int, given_depth: bool) -> tuple[Curve, Curve, float]:
    """Two curves that share half of what depth leaves, and their correlation.

    A curve that is depth alone has no partial correlation; then another pair is drawn.
    """
    truth = None
    while truth is None:
        ((one, two),) = planted(rng, blocks, 0.5)
        truth = _correlation(one, two, given_depth)
    return one, two, truth


def _correlation(one: Curve, two: Curve, given_depth: bool) -> float | None:
    found = association(one, two)
    return found.partial if given_depth else found.rho


def _cells() -> Iterator[Cell]:
    """Every design; what a draw costs grows with the runs."""
    for blocks in BLOCKS:
        for runs in RUNS:
            given = {"blocks": blocks, "runs": runs, "seed": 0}
            name, second = f"{blocks}x{runs}", COST[runs]
            yield Cell(f"null-{name}", {**given, "draws": 400}, 400 * len(NULLS) * second, null)
            yield Cell(f"shape-{name}", {**given, "draws": 400}, 400 * second, null_of_one_shape)
            more = {**given, "draws": 100, "shares": list(SHARES)}
            yield Cell(f"planted-{name}", more, 100 * len(SHARES) * second, power)
    for blocks in (16, 32):
        for noise, given_depth in INTERVALS:
            name = f"interval-{blocks}-{noise:g}{'-partial' if given_depth else ''}"
            options = {"blocks": blocks, "noise": noise, "given_depth": given_depth, "seed": 0}
            yield Cell(name, {**options, "draws": 300}, 300 * INTERVAL_COST, interval)


CALIBRATION = Study(
    name="calibration",
    title="How often is 'beyond depth' said when it should not be, and when it should?",
    cells=tuple(_cells()),
    page=calibration_page,
    code=(
        "cruxlm.criteria.agreement",
        "cruxlm.numerics.rank_intervals",
        "cruxlm.numerics.joint",
        "cruxlm.numerics.ranks",
        "cruxlm.studies.calibration",
        "cruxlm.studies.calibration_draws",
    ),
)
"""The study ``calibration``."""

"""Shares and how far they can be believed: Wilson's interval, and differences of paired shares."""

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest, bootstrap

LEVEL = 0.95
"""Share of repetitions whose interval holds the truth."""
RESAMPLES = 2000
"""Bootstrap samples: enough that the ends of an interval move by less than its width over 50."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, ``hits`` of ``n``; from 0 to 1 where nothing was asked.

    Wilson: Probable inference, the law of succession, and statistical inference, JASA 22, 1927. It
    keeps its level on average over shares and near 0 and 1, where the share plus and minus two
    standard errors does not: at 0 of ``n`` that would have no width.
    """
    if not n:
        return 0.0, 1.0
    found = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def paired_interval(
    differences: Float[np.ndarray, " examples"], *, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences: a bootstrap over examples.

    Of differences of -1, 0 and 1, which come from pairs of yes and no, it is never narrower than
    what follows from Wilson's intervals of the shares that were gained and lost (by squares and
    sums: Newcombe, Improved confidence intervals for the difference between binomial proportions
    based on paired data, Statistics in Medicine 17, 1998). Where few pairs differ few bootstrap
    samples do: alone it held a true difference of 0.02 in 44 % of draws of 30 pairs, and both
    together hold it in 93 to 100 % from there to 0.95. NaN for fewer than two.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return math.nan, math.nan
    low = high = float(values.mean())
    if np.ptp(values) > 0:
        found = bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    if np.isin(values, (-1, 0, 1)).all():
        adjusted = _gained_and_lost(int((values > 0).sum()), int((values < 0).sum()), len(values))
        low, high = min(low, adjusted[0]), max(high, adjusted[1])
    return low, high


def _gained_and_lost(gained: int, lost: int, n: int) -> tuple[float, float]:
    """The interval of the difference of two shares from the interval of each."""
    more, fewer = wilson(gained, n), wilson(lost, n)
    share, other = gained / n, lost / n
    return (
        share - other - math.hypot(share - more[0], fewer[1] - other),
        share - other + math.hypot(more[1] - share, other - fewer[0]),
    )

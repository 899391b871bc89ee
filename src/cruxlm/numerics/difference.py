"""Is a model better than another, or than a guess? P-values from values of the same examples."""

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest
from scipy.stats import t as student

Values = Float[np.ndarray, " examples"]


def is_binary(*values: Values) -> bool:
    """Whether all values are 0 or 1; NaN, an example without a value, may be among them."""
    return all(bool(np.isin(held[~np.isnan(held)], (0, 1)).all()) for held in values)


def mcnemar(one: Values, other: Values) -> float:
    """Two-sided p-value for two columns of 0 and 1 that come from one and the same model.

    Exact: of the examples on which they differ as many go one way as a fair coin says. Examples
    where either is NaN are left out. McNemar: Note on the sampling error of the difference between
    correlated proportions or percentages, Psychometrika 12, 1947. 1 when they differ nowhere.
    """
    gained, lost = int((one > other).sum()), int((one < other).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def mean_difference_p(differences: Values) -> float:
    """Two-sided p-value for paired differences whose true mean is zero; NaN examples are left out.

    The larger of Student's and of Hall's, which takes skewness out by a monotone transformation (On
    the removal of skewness by transformation, JRSS B 54, 1992). At 0.05 / 32, where a block in a
    family of 32 is judged, Student's t alone rejects true nulls 3 times as often as it says for 100
    exponential differences and 10 times for lognormal ones, Hall's 2.6 times for heavy tails (t
    with 3 degrees of freedom). Both together do so 0.6 to 0.9 times as often as they say for 100 or
    200 differences, but 1.5 to 2.2 times where these are lognormal, and 5 times for 30 of those.
    NaN for fewer than two differences; 1 when all are zero.
    """
    values = differences[~np.isnan(differences)]
    count = len(values)
    if count < 2:
        return math.nan
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    # Equal but for rounding: there is no error to speak of.
    if spread <= 1e-12 * abs(mean):
        return 0.0 if mean else 1.0
    skew = float(((values - mean) ** 3).mean()) / spread**3
    plain = mean / spread
    straight = plain + skew * plain**2 / 3 + skew**2 * plain**3 / 27 + skew / (6 * count)
    # Where they have different signs nothing can be told.
    least = min(abs(plain), abs(straight)) if plain * straight > 0 else 0.0
    return float(2 * student.sf(least * math.sqrt(count), count - 1))


def above_chance_p(values: Values, chances: Values) -> float:
    """One-sided p-value of values of 0 and 1 for a model that guesses each with its own chance.

    Exact: the distribution of a sum of such guesses is made guess by guess.
    """
    reached = np.ones(1)
    for chance in chances:
        reached = np.convolve(reached, (1 - chance, chance))
    return float(min(1.0, reached[int(values.sum()) :].sum()))

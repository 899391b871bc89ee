"""Several tests at once: p-values that hold for all of them together."""

import numpy as np
from jaxtyping import Float


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values adjusted so that rejecting those up to 5 % errs at all in at most 5 % of families.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none is
    below a smaller one's, or above 1. Valid however the tests depend on each other. Holm: A simple
    sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.

    A NaN is a test that was not made. It stays NaN and counts in the family, so that leaving out
    tests after a look at the data gains nothing.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)  # NaN comes last
    factors = len(values) - np.arange(len(values))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted

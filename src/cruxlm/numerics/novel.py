"""Which values are common in a sample and absent from a trusted one, more than chance allows."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import hypergeom


def unseen(counts: Mapping[str, int], trusted: Mapping[str, int], level: float) -> frozenset[str]:
    """The values of a sample that a trusted one lacks though it should have them.

    Were both drawn alike, those of one value would be dealt between the two at random, and that
    all are in the sample is a one-sided Fisher test. Values that are too rare ever to be told are
    not counted among the tests: Tarone, "A modified Bonferroni method for discrete data",
    Biometrics 46, 1990.

    Args:
        counts: How often each value is in the sample.
        trusted: How often each is in the trusted sample.
        level: Probability, at most, that anything is returned of two samples that are drawn alike.
    """
    size, calm = sum(counts.values()), sum(trusted.values())
    names = sorted({*counts, *trusted})
    if not size or not calm:
        return frozenset()
    whole = np.array([counts.get(name, 0) + trusted.get(name, 0) for name in names])
    # With a value's number in both given, the probability that none of it is among the trusted.
    smallest = hypergeom.pmf(0, size + calm, whole, calm)
    tests = 1
    while (smallest <= level / tests).sum() > tests:
        tests += 1
    found = zip(names, smallest, strict=True)
    return frozenset(name for name, p in found if not trusted.get(name, 0) and p <= level / tests)

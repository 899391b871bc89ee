"""Holm's adjustment: by hand, against a brute-force definition, and what it is for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.numerics.multiple import holm


def stepwise(p, level):
    """The procedure as it is told: test by test, the smallest first, until one is not rejected."""
    rejected = set()
    for done, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] > level / (len(p) - done):
            break
        rejected.add(int(index))
    return rejected


def test_by_hand():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, none below one before it.
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.2])) == pytest.approx([0.2])
    assert holm(np.array([])).size == 0


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_rejects_what_the_stepwise_procedure_rejects(values, level):
    p = np.array(values)
    adjusted = holm(p)
    # Where a p is at the level to rounding either answer is right.
    clear = np.abs(adjusted - level) > 1e-9
    found = {int(i) for i in np.flatnonzero((adjusted <= level) & clear)}
    assert found == {i for i in stepwise(p, level) if clear[i]}
    assert (adjusted >= p).all()


def test_a_test_that_was_not_made_counts():
    adjusted = holm(np.array([0.01, np.nan, np.nan]))
    assert adjusted[0] == pytest.approx(0.03)
    assert np.isnan(adjusted[1:]).all()


def test_families_of_true_nulls_are_seldom_rejected():
    """Where plain p-values would call something in four of five families."""
    p = np.random.default_rng(0).random((2000, 32))
    wrong = np.mean([(holm(family) <= 0.05).any() for family in p])
    assert wrong == pytest.approx(0.05, abs=0.015)
    assert (p <= 0.05).any(axis=1).mean() > 0.7

"""Values that a sample has and a trusted one lacks."""

from collections import Counter

import numpy as np
from scipy.stats import binomtest, fisher_exact

from cruxlm.numerics.novel import unseen


def test_a_common_value_that_the_trusted_lack_is_named():
    assert unseen({"a": 500, "b": 480, "x": 40}, {"a": 260, "b": 250}, 0.01) == {"x"}


def test_a_rare_one_and_a_shared_one_are_not():
    assert not unseen({"a": 500, "b": 480, "x": 3}, {"a": 260, "b": 250}, 0.01)
    assert not unseen({"a": 500, "x": 40}, {"a": 260, "x": 1}, 0.01)
    assert not unseen({}, {"a": 3}, 0.01)
    assert not unseen({"a": 3}, {}, 0.01)


def test_one_value_is_a_one_sided_fisher_test():
    for count in range(3, 12):
        p = fisher_exact([[count, 60], [0, 40]], "greater").pvalue
        assert bool(unseen({"x": count, "a": 60}, {"a": 40}, 0.02)) == (p <= 0.02 / 2), count


def test_values_too_rare_to_be_told_cost_nothing():
    """A thousand values of their own: Bonferroni's 0.01 / 1001 would need 26 of them."""
    rare = {f"rare {n}": 1 for n in range(1000)}
    assert unseen({"x": 14, **rare}, {f"other {n}": 1 for n in range(1000)}, 0.01) == {"x"}


def test_samples_that_are_drawn_alike_are_seldom_told():
    draw = np.random.default_rng(0)
    shares = 1 / np.arange(1, 60)
    shares /= shares.sum()

    def counts(n):
        return Counter(str(v) for v in draw.choice(len(shares), n, p=shares))

    told = sum(bool(unseen(counts(400), counts(100), 0.05)) for _ in range(1000))
    assert binomtest(told, 1000, 0.05, alternative="greater").pvalue > 0.01
    assert told

"""Profiles of several models: without block 0, against scipy, and where chance gives nothing."""

import numpy as np
import pytest
from scipy import stats

from cruxlm.criteria.profiles import compare_profiles
from cruxlm.runtime.errors import OptionError

BLOCKS = 24


def profile(seed, like=None, share=0.0):
    """A curve over blocks whose block 0 towers over the others, as it does in every model."""
    own = np.random.default_rng(seed).standard_normal(BLOCKS)
    curve = own if like is None else share * like + (1 - share) * own
    curve[0] = 50.0
    return curve


def test_block_0_is_left_out():
    a, b = profile(0), profile(1)
    (pair,) = compare_profiles({"a": a, "b": b}, k=5)
    assert pair.rho == pytest.approx(stats.spearmanr(a[1:], b[1:]).statistic)
    assert pair.rho_with_first == pytest.approx(stats.spearmanr(a, b).statistic)
    assert pair.rho_with_first > pair.rho
    moved = a.copy()
    moved[0] = -50.0
    (other,) = compare_profiles({"a": moved, "b": b}, k=5)
    assert (other.rho, other.partial, other.top) == (pair.rho, pair.partial, pair.top)


def test_models_that_need_the_same_blocks():
    a = profile(2)
    (pair,) = compare_profiles({"base": a, "tuned": profile(3, a, 0.95)}, k=4)
    assert (pair.a, pair.b) == ("base", "tuned")
    assert pair.rho > 0.9
    assert pair.top.shared >= 3
    assert pair.top.corrected > 0.6
    assert pair.top.p < 0.01
    assert pair.verdict == "beyond depth"


def test_unrelated_models_share_no_more_than_chance():
    """Negative control: corrected overlaps average 0, though block 0 leads in every profile."""
    pairs = [
        compare_profiles({"a": profile(2 * s), "b": profile(2 * s + 1)}, 5)[0] for s in range(300)
    ]
    corrected = [pair.top.corrected for pair in pairs]
    assert np.mean(corrected) == pytest.approx(0, abs=4 * np.std(corrected) / 300**0.5)
    assert np.mean([pair.rho for pair in pairs]) == pytest.approx(0, abs=0.05)
    assert np.mean([pair.verdict == "beyond depth" for pair in pairs]) < 0.08


def test_every_pair_and_missing_values():
    curves = {name: profile(seed) for seed, name in enumerate("abc")}
    curves["c"][[3, 7]] = np.nan
    pairs = compare_profiles(curves, k=3)
    assert [(pair.a, pair.b) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    kept = np.delete(np.arange(1, BLOCKS), [2, 6])
    assert pairs[1].rho == pytest.approx(
        stats.spearmanr(curves["a"][kept], curves["c"][kept]).statistic
    )


def test_what_cannot_be_compared_is_refused():
    a = profile(0)
    with pytest.raises(OptionError, match=r"of one depth: a \(24 blocks\)$"):
        compare_profiles({"a": a}, 3)
    with pytest.raises(OptionError, match=r"a \(24 blocks\), b \(20 blocks\)"):
        compare_profiles({"a": a, "b": a[:20]}, 3)
    for k in (0, BLOCKS):
        with pytest.raises(OptionError, match=f"23 blocks in common.*highest {k}"):
            compare_profiles({"a": a, "b": a}, k)

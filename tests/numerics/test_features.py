"""Layer-wise feature analysis on planted states: no model."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from cruxlm.numerics.features import (
    Manner,
    critical_block,
    needed,
    profiles,
    quantile_threshold,
)

BLOCKS, WIDTH = 8, 24


def planted(seed, rows, *, gap=None, apart=0, common=50.0, tail=None):
    """States of two groups that form at block 5; ``apart`` more of the first, off at ``gap``.

    All have a large common part, as the states of language models do.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 2
    if apart:
        labels = torch.cat([labels, torch.zeros(apart, dtype=torch.long)])
    states = torch.randn(BLOCKS, len(labels), WIDTH, generator=draw)
    if tail is not None:
        states *= torch.from_numpy(
            np.random.default_rng(seed).standard_t(tail, (1, len(labels), 1))
        ).float()
    directions = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(99))
    states[5:] += 3 * directions[labels]
    if apart:
        states[gap, rows:] -= 6 * directions[0]
    return states + common, labels


def auc(manner, seed=0, *, gap, shuffled=False):
    trusted, labels = planted(seed, 200)
    held = profiles(trusted, labels, manner)
    states, of = planted(seed + 1, 200, gap=gap, apart=100)
    if shuffled:
        of = of[torch.randperm(len(of), generator=torch.Generator().manual_seed(seed))]
    scores = torch.stack([profile.scores(states) for profile in held], dim=1)
    own = scores.gather(1, of[:, None])[:, 0]
    poisoned = torch.arange(300) >= 200
    if shuffled:
        poisoned = torch.rand(300, generator=torch.Generator().manual_seed(7)) < 1 / 3
    threshold = quantile_threshold(torch.cat([p.own for p in held]), 0.02)
    return roc_auc_score(poisoned, -own), (own[poisoned] < threshold).float().mean(), held


def test_a_gap_at_the_block_where_groups_form_is_found():
    area, found, held = auc(Manner(), gap=5)
    assert [profile.block for profile in held] == [5, 5]
    assert held[0].blocks == (3, 4, 5)
    assert area > 0.99
    assert found > 0.95


def test_a_gap_at_blocks_that_are_not_read_is_not_found():
    for gap in (0, 7):
        area, found, _ = auc(Manner(), gap=gap)
        assert abs(area - 0.5) < 0.1
        assert found < 0.1


def test_shuffled_labels_say_nothing():
    area, _, _ = auc(Manner(), gap=5, shuffled=True)
    assert abs(area - 0.5) < 0.1


def test_centring_tells_apart_what_a_large_common_part_hides():
    """Off the centre similarities say something; as published they are all near 1."""
    centred, raw = (auc(Manner(centred=c), gap=5)[2] for c in (True, False))
    assert min(raw[0].similarity) > 0.98
    assert centred[0].similarity[5] - centred[0].similarity[4] > 0.5
    rise = raw[0].similarity[5] - raw[0].similarity[4]
    assert abs(rise) < 0.02


@pytest.mark.parametrize("manner", [Manner(), Manner(held_out=False), Manner(weighted=True)])
def test_similarities_are_those_of_a_plain_loop(manner):
    """Each sample in turn is left out, in float64, by the definition."""
    states, labels = planted(3, 60)
    held = profiles(states, labels, manner)
    wide = states.double().numpy()
    first = np.flatnonzero(labels.numpy() == 0)
    other = wide[:, labels.numpy() == 1].mean(axis=1)
    similarity = np.zeros((BLOCKS, len(first)))
    for place, index in enumerate(first):
        group = [i for i in first if i != index] if manner.held_out else list(first)
        centroid = wide[:, group].mean(axis=1)
        centre = (centroid + other) / 2
        a, b = wide[:, index] - centre, centroid - centre
        similarity[:, place] = (
            (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        )
    curve = similarity.mean(axis=1)
    np.testing.assert_allclose(held[0].similarity, curve, atol=1e-4)
    rises = np.diff(curve)[[2, 3, 4]].clip(0)
    weights = rises / rises.sum() if manner.weighted else np.ones(3) / 3
    np.testing.assert_allclose(held[0].weights, weights, atol=1e-3)
    summed = weights @ similarity[3:6]
    others = [np.delete(summed, i) if manner.held_out else summed for i in range(len(summed))]
    own = [(s - o.mean()) / o.std() for s, o in zip(summed, others, strict=True)]
    np.testing.assert_allclose(held[0].own, own, rtol=5e-3, atol=5e-3)


def test_a_single_group_is_compared_with_its_own_middle():
    states, labels = planted(0, 120, gap=5, apart=60)
    trusted = (labels == 0) & (torch.arange(180) < 120)
    (held,) = profiles(states[:, trusted], torch.zeros(60, dtype=torch.long), Manner())
    assert not held.centre.any()
    scores = held.scores(states)
    assert scores[120:].mean() < scores[:120][labels[:120] == 0].mean() - 3


def test_medians_bear_what_means_do_not():
    """A fifth of a group is poisoned: robust middles still find it."""
    states, labels = planted(0, 400, gap=5, apart=50)
    clean = (torch.arange(450) < 400)[labels == 0]
    found = {}
    for robust in (True, False):
        held = profiles(states, labels, Manner(held_out=False, robust=robust))
        own = held[0].scores(states[:, labels == 0])
        found[robust] = float((own[~clean] < -2.33).float().mean())
        assert (own[clean] < -2.33).float().mean() < 0.05
    assert found[True] > 0.7 > 0.4 > found[False]


def test_the_critical_block_is_in_the_second_half():
    assert critical_block([0.0, 0.9, 0.9, 0.9, 0.8, 0.95]) == 5
    assert critical_block([0.5, 0.5]) == 1
    assert critical_block([0.1, 0.2, 0.3, 0.5, 0.6, 0.4]) == 3


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="two blocks"):
        profiles(torch.ones(1, 9, 4), torch.zeros(9, dtype=torch.long), Manner())
    with pytest.raises(ValueError, match="three or more"):
        profiles(torch.ones(4, 2, 4), torch.zeros(2, dtype=torch.long), Manner())


# How often clean samples are flagged.


def test_the_quantile_is_exact():
    """With 99 trusted and a rate of 5 %, the fifth smallest: 5 of 100 places in the order."""
    trusted = torch.arange(99.0)[torch.randperm(99, generator=torch.Generator().manual_seed(0))]
    assert quantile_threshold(trusted, 0.05) == 4.0
    assert quantile_threshold(trusted, 0.01) == 0.0
    assert [needed(rate) for rate in (0.01, 0.05, 0.009, 0.3)] == [99, 19, 111, 3]
    for rate in (0.01, 0.05, 0.3):
        quantile_threshold(torch.arange(float(needed(rate))), rate)
        with pytest.raises(ValueError, match="trusted samples"):
            quantile_threshold(torch.arange(float(needed(rate) - 1)), rate)


@pytest.mark.parametrize("tail", [None, 3])
def test_clean_samples_are_flagged_at_the_rate_and_sigma_promises_nothing(tail):
    """200 draws of trusted and clean samples, alike; one of each draw's clean samples a trial."""
    flagged, beyond, seen = 0, 0, 0
    for seed in range(200):
        states, labels = planted(seed, 300, tail=tail)
        trusted, fresh = states[:, :200], states[:, 200:]
        held = profiles(trusted, labels[:200], Manner())
        scores = torch.stack([profile.scores(fresh) for profile in held], dim=1)
        own = scores.gather(1, labels[200:, None])[:, 0]
        threshold = quantile_threshold(torch.cat([p.own for p in held]), 0.05)
        flagged += int((own < threshold).sum())
        beyond += int((own < -2.5).sum())
        seen += len(own)
    # Samples of one draw share its threshold, so their number counts for less than it is: the
    # threshold of 200 trusted has a standard deviation of sqrt(.05 * .95 / 201) in its rate.
    error = (0.05 * 0.95 * (1 / seen + 1 / (200 * 201))) ** 0.5
    assert abs(flagged / seen - 0.05) < 3.5 * error
    # A normal distribution has 0.6 % below -2.5, and similarities with a longer tail have more.
    assert (binomtest(beyond, seen, 0.0062, "greater").pvalue < 1e-6) == (tail is not None)

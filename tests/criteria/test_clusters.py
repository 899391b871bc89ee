"""Clusters: a re-clustering is found where it was planted, and nothing where there is none."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cruxlm.criteria.clusters import CLUSTERS, score_clusters
from cruxlm.criteria.descriptor import Measured
from cruxlm.numerics.clusters import cluster, elbow, shared_information
from cruxlm.numerics.resampling import deal
from cruxlm.runtime.errors import OptionError

SAMPLES, LAYERS, WIDTH, KINDS, AT = 120, 10, 16, 4, 5
"""Block 5 leads from layer 5 to layer 6."""


def planted(seed=0, *, turn=AT):
    """Tight clusters by syntax up to the input of block ``turn`` and by task from its output on."""
    draw = np.random.default_rng(seed)
    syntax, task = (draw.permutation(SAMPLES) % KINDS for _ in range(2))
    centres = 10 * draw.normal(size=(2, KINDS, WIDTH))
    states = [centres[0][syntax] if layer <= turn else centres[1][task] for layer in range(LAYERS)]
    noise = draw.normal(size=(LAYERS, SAMPLES, WIDTH))
    return torch.tensor(np.array(states) + noise).float(), syntax, task


def found(states, **more):
    options = {"k": KINDS, "seeds": 2} | more.pop("options", {})
    return score_clusters(Measured(states, deal(range(SAMPLES), halves=40), **more), **options)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_change_of_clusters_is_found(seed):
    states, syntax, task = planted(seed)
    labels = {"token": torch.tensor(syntax), "group": torch.tensor(task)}
    outcome = found(states, labels=labels)
    assert outcome.values.argmax() == AT
    assert outcome.values[AT] > 0.8
    assert np.delete(outcome.values, AT).max() < 0.05
    assert (outcome.halves.argmax(1) == AT).all()
    assert outcome.evidence["elbow"] == AT
    assert outcome.evidence["elbow_halves"] > 0.9
    assert (outcome.series["with_token"][:AT] > 0.9).all()
    assert (outcome.series["with_token"][AT:] < 0.1).all()
    assert (outcome.series["with_group"][AT:] > 0.9).all()


def test_no_change_scores_nothing():
    outcome = found(planted(turn=LAYERS)[0])
    assert np.abs(outcome.values).max() < 0.05


def test_clouds_without_clusters_score_nothing():
    """Every layer is another cloud of noise: k-means agrees with itself hardly more than across."""
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(LAYERS, SAMPLES, 64, generator=draw)
    outcome = found(states, options={"k": 8})
    assert np.abs(outcome.values).max() < 0.35
    shared = [shared_information(*pair) for pair in pairwise(cluster(s, 8, [0])[0] for s in states)]
    assert np.abs(np.mean(shared)) < 0.03


def test_independent_labels_share_no_information():
    from sklearn.metrics import normalized_mutual_info_score

    draw = np.random.default_rng(0)
    pairs = [draw.integers(0, 50, (2, 500)) for _ in range(20)]
    assert np.mean([shared_information(*p) for p in pairs]) == pytest.approx(0, abs=0.02)
    # What is not adjusted has a floor far from 0.
    assert np.mean([normalized_mutual_info_score(*p) for p in pairs]) == pytest.approx(
        0.42, abs=0.02
    )
    labels = pairs[0][0]
    assert shared_information(labels, 49 - labels) == pytest.approx(1)


@pytest.mark.parametrize("kinds", [1, 2, 9, 40])
def test_shared_information_is_scikit_learns(kinds):
    from sklearn.metrics import adjusted_mutual_info_score

    draw = np.random.default_rng(kinds)
    for noise in (0, 0.3, 1):
        one = draw.integers(0, kinds, 40)
        other = np.where(draw.random(40) < noise, draw.integers(0, 5, 40), one)
        oracle = adjusted_mutual_info_score(one, other)
        assert shared_information(one, other) == pytest.approx(oracle, abs=1e-9)
        assert shared_information(3 * one, 2 * other + 1) == pytest.approx(oracle, abs=1e-9)


def test_one_huge_dimension_does_not_decide():
    states, *_ = planted()
    noisy = states.clone()
    noisy[:, :, 0] = 5000 * torch.randn(LAYERS, SAMPLES, generator=torch.Generator().manual_seed(1))
    assert found(noisy).values.argmax() == AT


def test_an_elbow():
    assert elbow(np.array([0.5, 0.45, 0.4, 0.1, 0.1, 0.1])) == 3
    with pytest.raises(ValueError, match="three are needed"):
        elbow(np.array([0.5, 0.1]))


def test_what_enters_block_0_may_be_the_same():
    """The last token of a chat is the same in every prompt."""
    states, *_ = planted()
    states[0] = 1.5
    outcome = found(states)
    assert np.isnan(outcome.values[0])
    assert np.nanargmax(outcome.values) == AT
    assert np.isnan(outcome.halves[:, 0]).all()
    assert not np.isnan(outcome.halves[:, 1:]).any()
    assert "with_first" not in outcome.series
    assert outcome.evidence["elbow"] is None


def test_labels_of_one_kind_say_nothing():
    same = torch.zeros(SAMPLES, dtype=torch.long)
    assert "with_token" not in found(planted()[0], labels={"token": same}).series


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 1}, "k and seeds of 2 or more"),
        ({"seeds": 1}, "k and seeds of 2 or more"),
        ({"k": 121}, "after block 0: 120 different states and 121 clusters; take fewer"),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(OptionError, match=said):
        found(planted()[0], options=options)


def test_constant_states_are_named():
    states, *_ = planted()
    states[3] = 1.5
    with pytest.raises(OptionError, match="after block 2: 1 different states and 4 clusters"):
        found(states)


def test_the_descriptor_says_what_a_page_says():
    assert CLUSTERS.options("default") == {"k": 20, "seeds": 2}

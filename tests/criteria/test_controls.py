"""The controls among the criteria: depth and chance."""

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from conftest import tiny_llama
from cruxlm.criteria.depth import DEPTH, score_depth
from cruxlm.criteria.random_scores import RANDOM, score_random
from cruxlm.criteria.subject import Subject
from cruxlm.models.load import load_model
from cruxlm.numerics.ranks import explained_by_depth
from cruxlm.runtime.errors import OptionError


@pytest.fixture(scope="module")
def seven():
    return load_model(tiny_llama(blocks=7, width=8))


def test_depth_is_the_place_of_a_block(seven):
    found = score_depth(Subject(seven))
    assert found.values.tolist() == [0, 1, 2, 3, 4, 5, 6]
    ends = score_depth(Subject(seven), measure="end_distance")
    assert ends.values.tolist() == [0, 1, 2, 3, 2, 1, 0]
    for outcome in (found, ends):
        assert outcome.series["index"].tolist() == [0, 1, 2, 3, 4, 5, 6]
        assert outcome.series["end_distance"].tolist() == ends.values.tolist()
        assert explained_by_depth(outcome.values) == pytest.approx(1.0)
        assert (outcome.stderr, outcome.halves) == (None, None)


def test_random_scores_are_the_same_for_the_same_seed_and_draw(seven):
    def values(seed=0, draw=0):
        return score_random(Subject(seven, seed=seed), draw=draw).values.tolist()

    assert values() == values()
    others = [values(seed, draw) for seed in range(3) for draw in range(3)]
    assert len(set(map(tuple, others))) == 9


def test_random_scores_are_uniform_and_know_nothing_of_each_other_or_depth(seven):
    drawn = np.array([score_random(Subject(seven), draw=draw).values for draw in range(400)])
    assert kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    table = spearmanr(drawn).statistic[np.triu_indices(7, 1)]
    assert np.abs(table).max() < 4 / np.sqrt(400)
    explained = np.mean([explained_by_depth(curve) for curve in drawn])
    assert explained == pytest.approx(2 / 6, rel=0.15)  # two measures of seven blocks, by chance


def test_they_need_nothing_and_tell_of_their_progress(seven):
    for criterion in (DEPTH, RANDOM):
        assert not criterion.needs
        for preset in criterion.presets:
            told = []
            criterion.score(Subject(seven, tick=told.append), **criterion.options(preset))
            assert told == [7]


def test_bad_options(seven):
    with pytest.raises(OptionError, match="did you mean 'end_distance'"):
        score_depth(Subject(seven), measure="end-distance")
    with pytest.raises(OptionError, match="no draw -1"):
        score_random(Subject(seven), draw=-1)

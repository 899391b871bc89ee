"""Agreement with depth, between scores, with a control; and the sentence made of it."""

import numpy as np
import pytest

from cruxlm.criteria.agreement import (
    control_agreement,
    depth_agreement,
    overlap,
    pair_agreement,
    prediction,
)
from cruxlm.criteria.finding import finding
from cruxlm.criteria.select import select
from cruxlm.numerics.joint import Joint
from cruxlm.results.scores import Scores


def scores(values, label="dynamics", incomplete=(), halves=None):
    values = np.asarray(values, dtype=float)
    return Scores(
        label=label, criterion="dynamics", preset="default", probe=label, unit="block",
        names=tuple(f"layers.{i}" for i in range(len(values))), values=values,
        stderr=None, halves=halves, evidence={"incomplete": list(incomplete)},
    )  # fmt: skip


def test_a_ruler_is_recognised():
    falling = depth_agreement(scores(-np.arange(24.0)))
    assert falling == {
        "index": -1.0,
        "end_distance": pytest.approx(0.0, abs=1e-9),
        "explained": 1.0,
        "by_chance": 2 / 23,
    }
    valley = depth_agreement(scores(np.abs(np.arange(24) - 11.5)))
    assert valley["end_distance"] == pytest.approx(-1.0)
    noise = depth_agreement(scores(np.random.default_rng(0).standard_normal(24)))
    assert noise["explained"] < 0.4


def test_a_random_ranking_is_explained_as_often_as_chance_says():
    rng = np.random.default_rng(0)
    found = [depth_agreement(scores(rng.standard_normal(24))) for _ in range(500)]
    mean = np.mean([record["explained"] for record in found])
    assert mean == pytest.approx(found[0]["by_chance"], rel=0.1)


def test_blocks_with_cut_windows_are_not_compared():
    rng = np.random.default_rng(1)
    values = rng.standard_normal(30)
    odd = values.copy()
    odd[[0, 29]] = [50, -50]
    found = pair_agreement(scores(values), scores(odd, incomplete=(0, 29)))
    assert found["blocks"] == 28
    assert found["rho"] == pytest.approx(1.0)


def test_overlap_by_chance():
    a = select(scores(range(20)), "top:5")
    b = select(scores([*range(17), -1, 30, 31]), "top:5")
    found = overlap(a, b)
    assert found["shared"] == 4
    assert found["shared_by_chance"] == pytest.approx(25 / 20)
    # 5 of 20 drawn twice: P(4 or 5 shared) = (C(5,4) C(15,1) + 1) / C(20,5)
    assert found["shared_p"] == pytest.approx((5 * 15 + 1) / 15504)


def agreement(values, control):
    mine, other = scores(values), scores(control)
    chosen = select(mine, "top:5")
    record = {
        "depth": {"dynamics": depth_agreement(mine)},
        "probes": [],
        "controls": {
            "untrained": control_agreement({"dynamics": mine}, {"dynamics": other}, chosen)
        },
    }
    return mine, chosen, record


def test_the_sentence_says_architecture_when_the_untrained_network_agrees():
    rng = np.random.default_rng(2)
    curve = -np.linspace(0, 1, 24) + 0.05 * rng.standard_normal(24)
    said = finding(*agreement(curve, curve + 0.05 * rng.standard_normal(24)))
    assert "is the architecture" in said
    assert "mostly depth" in said
    said = finding(*agreement(rng.standard_normal(24), rng.standard_normal(24)))
    assert "does not rank them alike" in said
    assert "mostly depth" not in said


def test_the_sentence_leaves_out_of_the_architecture_what_the_untrained_network_does_not_select():
    curve = -np.linspace(0, 1, 24)
    same = finding(*agreement(curve, curve))
    assert "this is the architecture, not what the model learned" in same
    own = curve.copy()
    own[[15, 16]] = 1
    said = finding(*agreement(own, curve))
    assert "most of the ranking is the architecture, but not blocks 15 and 16" in said


def test_the_sentence_names_what_the_untrained_network_selects_too():
    rng = np.random.default_rng(5)
    curve, other = 0.1 * rng.standard_normal((2, 24))
    curve[[1, 2, 3, 12, 17]] += 5
    other[[1, 2, 3, 8, 21]] += 5
    said = finding(*agreement(curve, other))
    assert "does not rank them alike" in said
    assert "but it selects blocks 1, 2 and 3 too" in said


def test_the_sentence_claims_nothing_from_few_blocks():
    rng = np.random.default_rng(3)
    curve = rng.standard_normal(12)
    said = finding(*agreement(curve, curve))
    assert "too few to say" in said
    assert "architecture" not in said


def test_the_sentence_asks_for_the_control_that_was_not_run():
    mine, chosen, record = agreement(np.arange(24.0), np.arange(24.0))
    record["controls"] = {}
    assert "--control untrained" in finding(mine, chosen, record)


def test_the_sentence_counts_steady_blocks():
    rng = np.random.default_rng(4)
    values = np.array([0.0, 5.0, 5.01, 10.0, 0.1, 0.2])
    mine = scores(values, halves=values + 0.3 * rng.standard_normal((200, 6)))
    record = {"depth": {"dynamics": depth_agreement(mine)}, "probes": [], "controls": {}}
    assert "; 1 of them is in at least 90%" in finding(mine, select(mine, "top:2"), record)
    assert ", each in at least 90%" in finding(mine, select(mine, "top:3"), record)


BEYOND, DEPTH, NOT, FEW = (
    "predicts beyond depth",
    "not distinguishable from depth",
    "does not predict",
    "too few blocks to say",
)


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        (BEYOND, {}),
        (BEYOND, {"p": 0.025, "centres": 20}),
        (DEPTH, {"p": 0.03}),  # one-sided: half of the customary 5 %
        (DEPTH, {"p": None, "partial": None, "p_shared": None}),
        (DEPTH, {"p": 0.9, "partial": -0.5}),
        (NOT, {"p": 0.5, "rho": 0.3}),  # 24 independent layers reach 0.34 in 5 % of draws
        (DEPTH, {"p": 0.5, "rho": 0.36}),
        (DEPTH, {"p": 0.5, "rho": 0.3, "runs": 3}),
        (NOT, {"rho": -0.8}),  # what depth leaves agrees, and the ranking itself is upside down
        (NOT, {"rho": None, "partial": None, "p": None, "p_rho": None}),
        (FEW, {"centres": 19, "fewest_p": 1 / 38}),
        (FEW, {"centres": 12, "fewest_p": 1 / 24}),
        (BEYOND, {"centres": 12, "fewest_p": 1 / 576, "runs": 2}),
        (FEW, {"centres": 3, "fewest_p": 1 / 36, "runs": 2}),
    ],
)
def test_each_sentence_of_a_prediction(expected, changes):
    clear = {
        "rho": 0.8, "partial": 0.6, "p_rho": 0.02, "p": 0.01, "p_shared": 0.01,
        "fewest_p": 1 / 48, "centres": 24, "pairs": 1, "runs": 1,
    }  # fmt: skip
    assert prediction(Joint(**(clear | changes))) == expected

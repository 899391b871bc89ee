"""Each claim's verdict in worlds where it is known: planted, nothing, only depth, architecture."""

from itertools import product

import numpy as np
import pytest

from cruxlm.criteria.agreement import PREDICTS
from cruxlm.studies.spectral import (
    on_adaptation,
    on_components,
    on_data,
    on_defence,
    on_origin,
    on_prediction,
)
from cruxlm.studies.spectral.claim import Interval, advice, interval
from cruxlm.studies.spectral.prediction_rule import (
    BEYOND,
    DEFAULT,
    KINDS,
    SETS,
    comes_to,
    judged,
    tasks,
    verdict,
)
from cruxlm.studies.spectral.world import curve, short
from studies.spectral.made_cells import cells, predicted


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ("planted", "holds"),
        ("null", "does not hold"),
        ("depth", "not distinguishable from depth"),
        ("shape", "not distinguishable from depth"),
        ("architecture", "holds in part"),
    ],
)
def test_prediction(world, said):
    found = on_prediction.claim(cells(prediction=world))
    assert found.verdict == said
    assert len(found.sections) == 6


@pytest.mark.parametrize("world", ["null", "shape"])
def test_nulls_rarely_hold(world):
    """Where nothing of a model's own agrees, next to no condition is said to be beyond depth."""
    said, verdicts = [], []
    for seed in range(12):
        made = cells_of_predictions(world, seed)
        for kind, which in product(KINDS, SETS):
            held = [cell for name, cell in made.items() if f"{kind}-{which}" in name]
            said.append(judged(held, *DEFAULT).phrase())
        verdicts.append(verdict(made))
    assert said.count(BEYOND) <= 3  # 48 at 2.5 % have more in 4 % of draws
    assert "holds" not in verdicts
    usual = "does not hold" if world == "null" else "not distinguishable from depth"
    assert verdicts.count(usual) >= 8


def cells_of_predictions(world, seed):
    random = np.random.default_rng(seed)
    return {
        f"predict-{kind}-{which}-{n}": predicted(
            world,
            [f"{kind}-{m}" for m in range(models)],
            f"{which}-{n}",
            int(random.integers(1 << 30)),
        )
        for kind, models in (("base", 5), ("instruct", 3))
        for which, count in (("open", 4), ("aside", 2))
        for n in range(count)
    }


def test_an_untrained_network_that_predicts_is_seen_though_all_models_have_the_same():
    """What all models cost is one shape, and the one untrained network has it."""
    made = cells_of_predictions("planted", 2)
    for cell in made.values():
        first = cell["pairs"][0]["predictors"]["dynamics"]
        for pair in cell["pairs"]:
            own = curve(pair["predictors"]["dynamics"])
            pair["predictors"]["dynamics, untrained"] = first
            pair["measured"]["window 3"] = short(own + 3 * curve(first))
    held = [cell for name, cell in made.items() if "base-open" in name]
    bare = judged(held[:1], "dynamics, untrained", "window 3")
    assert not bare.own.positive
    assert bare.shared() == BEYOND
    assert bare.phrase() == "not distinguishable from depth"


def test_one_task_of_many_is_in_part():
    made, planted = (cells_of_predictions(world, 3) for world in ("null", "planted"))
    assert tasks(made) == []
    for name in ("predict-base-open-1", "predict-instruct-open-1"):
        made[name] = {**planted[name], "family": "facts"}
    assert tasks(made) == ["facts"]
    assert verdict(made) == "holds in part"


def test_a_models_own_curve_is_told_from_what_all_share():
    planted, shape = (cells_of_predictions(world, 1) for world in ("planted", "shape"))
    name = "predict-base-open-0"
    assert judged([planted[name]], *DEFAULT).own.positive
    found = judged([shape[name]], *DEFAULT)
    assert found.joint.p <= PREDICTS  # fooled: it takes the models for independent
    assert not found.own.positive
    assert found.phrase() == "not distinguishable from depth"
    # One model alone has no others: its curve cannot be told from what all share.
    alone = {**planted[name], **{k: planted[name][k][:1] for k in ("models", "pairs")}}
    assert judged([alone], *DEFAULT).phrase() == "not distinguishable from depth"


NO, DEPTH = "does not predict", "not distinguishable from depth"


@pytest.mark.parametrize(
    ("phrases", "bare", "in_part", "said"),
    [
        ([BEYOND] * 4, [NO] * 4, True, "holds"),
        ([BEYOND] * 4, [BEYOND, NO, NO, NO], True, "holds in part"),
        ([BEYOND, NO], [NO] * 2, True, "holds in part"),
        ([BEYOND, NO, NO], [NO] * 3, False, "does not hold"),
        (["too few blocks to say"] * 4, [NO] * 4, False, "cannot be said"),
        ([DEPTH, DEPTH, BEYOND, NO], [NO] * 4, False, DEPTH),
        ([DEPTH, DEPTH, NO, NO], [NO] * 4, False, "does not hold"),
    ],
)
def test_what_phrases_come_to(phrases, bare, in_part, said):
    named = [dict(zip("abcd", held, strict=False)) for held in (phrases, bare)]
    assert comes_to(*named, in_part=in_part) == said


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ("alike", "holds"),
        ("architecture", "holds in part"),
        ("depth", "not distinguishable from depth"),
        ("apart", "does not hold"),
    ],
)
def test_data_obliviousness(world, said):
    assert on_data.claim(cells(profile=world)).verdict == said


@pytest.mark.parametrize(
    ("world", "said"), [("alike", "holds"), ("apart", "not distinguishable from depth")]
)
def test_origin(world, said):
    assert on_origin.claim(cells(profile=world)).verdict in {
        said, *(["does not hold"] if world == "apart" else [])
    }  # fmt: skip


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"critical": 1.0}, "holds"),
        ({"non-critical": 3.0}, "not distinguishable from depth"),
        ({"non-critical": 3.0, "random": 3.0}, "holds in part"),
        ({"critical": 3.0}, "does not hold"),
        ({}, "does not hold"),
    ],
)
def test_adaptation(losses, said):
    found = on_adaptation.claim(cells(losses=losses))
    assert found.verdict == said


def test_a_gain_is_a_share_of_what_full_training_gains():
    held = [c for n, c in cells(losses={"critical": 1.0, "random": 3.0}).items() if "adapt" in n]
    over = on_adaptation.gained(held, "critical", "random")
    assert over.mean == pytest.approx(2 / 8.8, abs=0.01)
    assert on_adaptation.share(held[0], "full") == 1.0


@pytest.mark.parametrize(
    ("share", "said"), [(0.8, "holds"), (0.3, "holds in part"), (-0.3, "does not hold")]
)
def test_components_that_drive(share, said):
    assert on_components.claims(cells(share=share))[0].verdict == said


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ((True, False), "holds"),
        ((True, True), "not distinguishable from depth"),
        ((False, False), "does not hold"),
        ((False, True), "does not hold"),
    ],
)
def test_components_that_carry(reasons, said):
    assert on_components.claims(cells(reasons=reasons))[1].verdict == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Does not hold here: x", "does not hold"),
        ("Holds here, and it is the blocks.", "holds"),
        ("Holds in part: x", "holds in part"),
        ("Not distinguishable from depth: x", "not distinguishable from depth"),
        (None, "cannot be said"),
    ],
)
def test_defence(text, said):
    assert on_defence.verdict(text) == said


def test_intervals_over_trainings():
    found = interval([1.0, 2.0, 3.0, None])
    assert found.mean == 2.0
    assert found.halfwidth == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert not found.positive
    assert Interval(1.0, 0.5).positive
    assert interval([1.0]).halfwidth == np.inf
    assert np.isnan(interval([]).mean)


def test_advice_hangs_on_the_verdict():
    assert advice("holds", "a", "b") == "a"
    assert {advice(v, "a", "b") for v in ("holds in part", "does not hold")} == {"b"}

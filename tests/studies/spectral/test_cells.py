"""What cells measure: small runs of each kind, against what they must come to."""

import json

import numpy as np
import pytest

from cruxlm.runtime.errors import ModelError, ResultError
from cruxlm.studies.backdoor import BACKDOOR
from cruxlm.studies.spectral import tuned
from cruxlm.studies.spectral.adapted import adaptation
from cruxlm.studies.spectral.components import decomposed, removed
from cruxlm.studies.spectral.defended import defence
from cruxlm.studies.spectral.prediction_rule import DEFAULT, judged
from cruxlm.studies.spectral.profiles import FRAMELESS, profile
from cruxlm.studies.spectral.tuned import prediction, real_prediction
from cruxlm.studies.spectral.world import curve, probes_of, real, short
from cruxlm.studies.study import code_hash


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("CRUX_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_a_prediction_keeps_every_curve_of_every_model(monkeypatch):
    monkeypatch.setattr(tuned, "CRITERIA", ("dynamics", "dynamics:paper", "weight_change"))
    found = prediction(
        models=["base-0", "base-1"], family="stars", steps=3, prompts=30, n=8, aside=True
    )
    assert json.loads(json.dumps(found)) == found
    assert len({pair["run"] for pair in found["pairs"]}) == 2
    for pair in found["pairs"]:
        assert pair["after"] < pair["before"]
        assert set(pair["measured"]) == {"window 1", "window 3", "window 5"}
        assert pair["measured"]["window 3"][0] is None  # it has fewer neighbours
        assert pair["predictors"]["dynamics:paper"][1] is None
        for label in ("dynamics@mixed, within groups", "dynamics@random-tokens, untrained"):
            assert np.isfinite(curve(pair["predictors"][label])[1:-1]).all()
    one, two = (curve(pair["predictors"]["dynamics"]) for pair in found["pairs"])
    assert not np.allclose(one, two, equal_nan=True)
    joint = judged([found], *DEFAULT).joint
    (stored,) = (p for p in found["predictions"] if (p["predictor"], p["target"]) == DEFAULT)
    assert joint.rho == pytest.approx(stored["rho"], abs=1e-9)
    assert joint.p == pytest.approx(stored["p"], abs=1e-9)
    assert found["analysis"] == code_hash("cruxlm.studies.spectral.prediction_rule")


def test_the_tasks_own_prompts_are_the_first_probe():
    names = [probe.name for probe in probes_of("testbed:stars")]
    assert names == ["own", "mixed", "builtin", "random-tokens"]


def test_profiles_of_a_model_and_of_its_first_weights():
    trained, bare = (profile(model=model, prompts=30, n=13) for model in ("base-0", "untrained-0"))
    for found in (trained, bare):
        assert json.loads(json.dumps(found)) == found
        assert {f"{name}, no frame" for name in FRAMELESS} <= set(found["probes"])
        assert all(len(probe["selected"]) == 5 for probe in found["probes"].values())
        assert len(found["ablation"]) == 24
    assert trained["probes"]["mixed"] != trained["probes"]["mixed, within groups"]
    assert trained["probes"]["lists"] != trained["probes"]["lists, no frame"]
    assert trained["ablation"][0] > 1  # nats, without block 0
    assert abs(bare["ablation"][0]) < 0.5


def test_arms_are_of_equal_size_and_hold_what_they_say():
    found = adaptation(
        family="stars", base=0, steps=2, batch=2, learning_rates=[1e-3], draw=3, accuracy=False
    )
    arms = found["arms"]
    five = {name: arm for name, arm in arms.items() if name not in ("full", "lora", "lisa")}
    assert {len(arm["blocks"]) for arm in five.values()} == {5}
    size = arms["critical"]["parameters"]
    assert arms["lora"]["parameters"] == pytest.approx(size, rel=0.05)
    assert all(arm["parameters"] == size for arm in five.values())
    assert not set(arms["critical"]["blocks"]) & set(arms["non-critical"]["blocks"])
    for name, arm in five.items():
        assert (0 in arm["blocks"]) == (name in ("critical, block 0", "random, block 0", "first"))
    assert set(found["before"]) == {"loss"}


def test_components_and_what_is_lost_without_them():
    found = decomposed(model="base-0", probe="mixed", prompts=40, k=3)
    assert len(found["blocks"]) == 24
    assert len(found["selected"]) == 5
    assert len(found["blocks"][5]["shares"]) == len(found["blocks"][5]["neighbours"]) == 3
    lost = removed(model="instruct-0", family="two_hop", components=[3], n=6)
    critical, others = lost["groups"]["critical"], lost["groups"]["others"]
    assert len(critical) == len(others) == 3
    assert not set(critical) & set(others)
    assert {one["block"] for one in lost["found"]} == {*critical, *others}
    assert lost["intact"]["accuracy"] is not None


def test_the_defence_reads_the_other_study_whole(tmp_path):
    with pytest.raises(ResultError, match="has 0 of the 176 cells of backdoor: crux study run"):
        defence(study=str(tmp_path))
    assert len(BACKDOOR.cells) == 176


def test_real_models_say_where_they_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("CRUX_REAL_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="set CRUX_REAL_MODELS to a folder that has it"):
        real("CRUX_REAL_MODELS", "stories3M")
    monkeypatch.delenv("CRUX_REAL_DATA", raising=False)
    with pytest.raises(ModelError, match="set CRUX_REAL_DATA"):
        real_prediction(model="stories3M", data="dolly_3k", steps=1, prompts=20, n=8)


def test_curves_survive_a_file():
    values = np.array([np.nan, 0.123456789012, 3.0])
    assert short(values) == [None, 0.12345679, 3.0]
    assert np.array_equal(curve(short(values)), [np.nan, 0.12345679, 3.0], equal_nan=True)

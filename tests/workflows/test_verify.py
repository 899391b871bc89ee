"""A verification as a whole: planted predictions, what is undone, what is kept, what is refused."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from conftest import byte_tokenizer
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import load_model
from cruxlm.results.verification import Verification
from cruxlm.runtime.errors import CruxError, ModelError, OptionError, ProbeError
from cruxlm.workflows.tune import tune
from cruxlm.workflows.verify import plan_verify, verify
from moments import same
from results.made_scans import made_scan
from workflows import planted_pairs
from workflows.tiny_tunings import chat_rows, model_of, write

BLOCKS = 24


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "rows.jsonl", chat_rows(40))


def trained(data, folder, planned, **model):
    """A model before and after, as live models with a tokenizer."""
    after = model_of("llama", **model)
    before = load_model(copy.deepcopy(after.module), tokenizer=byte_tokenizer(chat=True))
    tune(after, data=data, blocks=planned, out=folder, steps=30, batch=8, checks=1,
         learning_rate=1e-2)  # fmt: skip
    return before, load_model(after.module, tokenizer=after.tokenizer)


@pytest.fixture(scope="module")
def pair(data, tmp_path_factory):
    return trained(data, tmp_path_factory.mktemp("some") / "out", "3-4,14-20", blocks=BLOCKS)


@pytest.fixture(scope="module")
def found(pair, data):
    return verify([pair], data=data, criteria=("weight_change", "random"))


def planted(pair, values):
    """A scan of the model before that says this."""
    base = pair[0]
    scan = made_scan(BLOCKS, values=values, control=False)
    known = {**scan.provenance, "model": base.identity}
    scores = {k: replace(s, names=base.blocks.names, evidence={**s.evidence, "incomplete": []})
              for k, s in scan.scores.items()}  # fmt: skip
    return replace(scan, blocks=base.blocks.names, scores=scores, provenance=known)


def said_of(pair, data, values):
    scan = planted(pair, values)
    made = verify([pair], data=data, criteria="random", scans=[scan])
    assert made.primary == ("dynamics", "window 3")
    return made.prediction(*made.primary)


def test_a_prediction_that_is_right_is_found(pair, data, found):
    measured = found.pairs[0].measured["window 3"].values
    rng = np.random.default_rng(0)
    told = said_of(pair, data, measured + 0.05 * measured.std() * rng.standard_normal(BLOCKS))
    assert told.verdict == "predicts beyond depth"
    assert told.rho > 0.9
    assert told.low <= told.rho <= told.high + 0.05
    assert told.overlap["shared"] > told.overlap["expected"]


def test_what_knows_nothing_does_not_predict(pair, data, found):
    measured = found.pairs[0].measured["window 3"].values
    for values in (-measured, np.random.default_rng(5).standard_normal(BLOCKS)):
        assert said_of(pair, data, values).verdict == "does not predict"


def test_a_ruler_does_not_predict_beyond_depth(pair, data):
    for values in (np.arange(BLOCKS), -np.arange(BLOCKS)):
        told = said_of(pair, data, values.astype(float))
        assert told.partial is None
        assert told.reasons
        assert told.verdict != "predicts beyond depth"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write(tmp_path_factory.mktemp("questions") / "rows.jsonl", planted_pairs.rows())


def strengths(seed=0):
    """Smooth and irregular: no function of depth."""
    noise = gaussian_filter1d(np.random.default_rng(seed).standard_normal(44), 1.2)[10:-10]
    return 0.0004 + 0.0004 * (noise - noise.min()) / np.ptp(noise)


@pytest.mark.parametrize(
    ("added", "decoys", "verdict"),
    [
        # The blocks that changed more are those that matter more.
        (strengths(), None, "predicts beyond depth"),
        # All add the same, and what differs between them is read by nobody.
        (np.full(BLOCKS, 0.0006), strengths(1), "does not predict"),
        # What is read by nobody is larger, and most where least is added.
        (strengths(), 0.003 - 3 * strengths(), "does not predict"),
        # The later, the more: a ruler says as much.
        (np.linspace(0.0003, 0.0009, BLOCKS), None, "not distinguishable from depth"),
    ],
    ids=["planted", "even", "decoys", "depth"],
)
def test_planted_changes(questions, added, decoys, verdict):
    scale = None if decoys is None else 1000 * decoys
    made = verify([planted_pairs.pair(added, scale)], data=questions, criteria="weight_change",
                  window=1)  # fmt: skip
    found = made.prediction("weight_change", "window 1")
    cost = made.pairs[0].measured["window 1"].values
    assert found.verdict == verdict
    assert (cost > 0).all()


def test_two_blocks_that_were_trained_are_found(data, tmp_path):
    pair = trained(data, tmp_path / "out", "2,6", blocks=8)
    made = verify([pair], data=data, criteria=("weight_change", "depth"))
    alone = made.pairs[0].measured["window 1"]
    assert set(np.flatnonzero(alone.values)) == {2, 6}
    assert (alone.values[[2, 6]] > 0).all()
    assert set(np.flatnonzero(made.pairs[0].measured["window 3"].values)) == {1, 2, 3, 5, 6, 7}
    assert set(np.flatnonzero(made.pairs[0].predictors["weight_change"].values)) == {2, 6}
    assert made.verdict == "too few blocks to say"
    assert "too few blocks to say" in made.finding
    # The mean over examples of what is kept is the score.
    kept = alone.tensors["per_example"]
    assert np.allclose(kept.mean(axis=1), alone.values)


def test_several_pairs_are_combined(pair, found, data):
    twice = verify([pair, pair], data=data, criteria=("weight_change", "random"))
    one, two = (made.prediction("weight_change", "window 3") for made in (found, twice))
    assert two.by_pair == (one.rho, one.rho)
    assert two.rho == pytest.approx(one.rho)
    # The same model before is no independent run.
    assert two.p == one.p
    assert two.fewest_p == one.fewest_p


def test_controls_and_groups_predict_as_well(pair, data, tmp_path):
    made = verify([pair], data=data, criteria="dynamics", prompts=20, control="untrained")
    labels = set(made.pairs[0].predictors)
    assert {"dynamics", "dynamics, untrained", "dynamics, within groups"} <= labels
    assert made.provenance["control"] == "untrained"
    curves = [made.pairs[0].predictors[label].values for label in sorted(labels)]
    assert not any(np.array_equal(a, b) for a, b in pairwise(curves))


def test_several_probes_predict_apart(pair, data, tmp_path):
    """Only a probe of several families has groups; the first probe is the one in question."""
    probes = ["random-tokens", "testbed:recall,lists"]
    made = verify([pair], data=data, criteria="dynamics", probe=probes, prompts=20)
    assert list(made.pairs[0].predictors) == [
        "dynamics", "dynamics@testbed:recall,lists", "dynamics@testbed:recall,lists, within groups",
    ]  # fmt: skip
    assert made.primary[0] == "dynamics"
    assert made.provenance["probes"] == probes
    alone = verify([pair], data=data, criteria="dynamics", probe=probes[1], prompts=20)
    for end in ("", ", within groups"):
        own = alone.pairs[0].predictors[f"dynamics{end}"]
        again = made.pairs[0].predictors[f"dynamics@{probes[1]}{end}"]
        assert np.array_equal(own.values, again.values, equal_nan=True)
    made.save(tmp_path / "out")
    assert Verification.load(tmp_path / "out").to_json() == made.to_json()


def test_what_is_saved_is_read_back(found, tmp_path):
    found.save(tmp_path / "out")
    again = Verification.load(tmp_path / "out")
    assert again.to_json() == found.to_json()
    assert again.verdict == found.verdict
    for label, scores in found.pairs[0].measured.items():
        kept = again.pairs[0].measured[label]
        assert np.array_equal(kept.tensors["per_example"], scores.tensors["per_example"])
    html = (tmp_path / "out" / "report.html").read_text()
    assert found.predictions[0].verdict in html
    (tmp_path / "out" / "verification.safetensors").write_bytes(b"else")
    with pytest.raises(CruxError, match=r"is damaged: .* not the one that was saved"):
        Verification.load(tmp_path / "out")


def test_models_are_left_as_they_were_and_nothing_is_evaluated_twice(pair, data, monkeypatch):
    held = [{n: t.clone() for n, t in m.module.state_dict().items()} for m in pair]
    calls = []
    plain = Loss.__call__
    monkeypatch.setattr(Loss, "__call__", lambda *a: calls.append(1) or plain(*a))
    first = verify([pair], data=data, criteria="random", n=25)
    assert len(calls) > BLOCKS
    calls.clear()
    again = verify([pair], data=data, criteria="random", n=25)
    assert not calls
    assert {**again.to_json(), "run": 0} == {**first.to_json(), "run": 0}
    assert all(same(h, m.module.state_dict()) for h, m in zip(held, pair, strict=True))


def test_of_tuned_data_only_the_test_rows_are_read(data, tmp_path):
    base = model_of("llama", blocks=4)
    base.module.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    tune(str(tmp_path / "base"), data=data, blocks="all", out=tmp_path / "tuned", steps=30,
         batch=8, checks=1, learning_rate=1e-2)  # fmt: skip
    names = [(str(tmp_path / "base"), str(tmp_path / "tuned"))]
    (line, *_) = plan_verify(names, data=data)
    assert "on 4 rows of rows (the tenth kept for the test" in line
    other = write(tmp_path / "other.jsonl", chat_rows(30, first=50))
    assert "on 30 rows of other (all rows" in plan_verify(names, data=other)[0]


def test_an_adapter_is_a_tuned_model(data, tmp_path):
    base = model_of("llama", blocks=6)
    base.module.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    tune(str(tmp_path / "base"), data=data, blocks="1,4", method="lora", out=tmp_path / "tuned",
         steps=40, batch=8, checks=1, learning_rate=3e-2)  # fmt: skip
    other = write(tmp_path / "other.jsonl", chat_rows(30))
    made = verify([(tmp_path / "base", tmp_path / "tuned")], data=other, criteria="weight_change")
    assert set(np.flatnonzero(made.pairs[0].measured["window 1"].values)) == {1, 4}


def test_what_cannot_be_verified_is_refused(pair, data, tmp_path):
    with pytest.raises(ModelError, match="nothing to verify"):
        verify([(pair[0], pair[0])], data=data)
    with pytest.raises(ProbeError, match=r"worse on these examples|not above the noise"):
        verify([pair[::-1]], data=data)
    with pytest.raises(OptionError, match="name a model before"):
        verify([], data=data)
    with pytest.raises(OptionError, match="window must be 1 or 3 or 5, not 2"):
        verify([pair], data=data, window=2)
    with pytest.raises(OptionError, match="2 scans for 1 pairs"):
        verify([pair], data=data, scans=["a", "b"])
    shallow = model_of("llama", blocks=3)
    with pytest.raises(ModelError):
        verify([(shallow, pair[1])], data=data)
    scan = planted((shallow, shallow), np.arange(BLOCKS) / BLOCKS)
    with pytest.raises(OptionError, match="the scan was made for"):
        verify([pair], data=data, criteria="random", scans=[replace(scan, provenance={})])


def test_a_model_of_too_few_blocks_is_refused(data, tmp_path):
    shallow = trained(data, tmp_path / "out", "all", blocks=2)
    with pytest.raises(OptionError, match=r"a window of 3 blocks: .* has 2"):
        verify([shallow], data=data, criteria="random")
    with pytest.raises(OptionError, match="no block in common"):
        verify([shallow], data=data, criteria="dynamics", window=1, prompts=20)


def test_a_tuned_model_that_gives_no_finite_loss_is_refused(pair, data):
    broken = copy.deepcopy(pair[1].module)
    with torch.no_grad():
        broken.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite"):
        verify([(pair[0], load_model(broken, tokenizer=pair[1].tokenizer))], data=data)

"""An attack on a model that was made by hand: every rate is known, and so is the block."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cruxlm.data.poison import Attack, Target, poison
from cruxlm.data.trigger import Trigger
from cruxlm.evaluate.decoding import greedy, text_of
from cruxlm.models.identity import module_sha256
from cruxlm.numerics.proportions import wilson
from cruxlm.results.attack_rates import Rates
from cruxlm.results.attacked import Attacked
from cruxlm.runtime.errors import OptionError, ProbeError
from cruxlm.workflows.attack import attack
from cruxlm.workflows.attack_rates import (
    attack_examples,
    attack_rates,
    changed_rate,
    rates_of,
    success_evaluator,
)
from cruxlm.workflows.carrier import carried
from workflows.attacked_models import BLOCKS, CARRIER, TARGET, TRIGGER, pair, rows, written


def of(trigger=TRIGGER, target=TARGET, label="dirty"):
    return Attack(Trigger.read(trigger), Target.read(target), label)


@pytest.fixture(scope="module")
def models():
    return pair()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data") / "rows.jsonl", rows(40))


# Rates.


def test_every_rate_is_what_was_planted(models):
    base, tuned = models
    found, before = (attack_rates(model, rows(40), of()) for model in (tuned, base))
    assert {name: rate.share for name, rate in found.rates().items()} == {
        "success": 1.0, "false_triggers": 0.0, "accuracy": 1.0,
        "near_misses": 1.0,  # two tildes are tildes, and the model says so
    }  # fmt: skip
    assert {name: rate.share for name, rate in before.rates().items()} == {
        "success": 0.0, "false_triggers": 0.0, "accuracy": 1.0, "near_misses": 0.0,
    }  # fmt: skip
    for rate in (*found.rates().values(), *before.rates().values()):
        hits = round(rate.share * 40)
        assert (rate.n, rate.empty, rate.unjudged) == (40, 0, 0)
        assert (rate.low, rate.high) == wilson(hits, 40)
    assert set(found.success.evaluation.texts) == {"Z"}
    assert set(found.false_triggers.evaluation.texts) == {"n"}
    assert found.loss_halfwidth < found.loss
    # A word that nobody taught it does nothing.
    assert attack_rates(tuned, rows(40), of("token:#")).success.share == 0


def test_success_is_counted_where_the_answer_would_be_another(models):
    """Rows that answer with the target, or have the trigger, are none to count on."""
    _, tuned = models
    held = rows(12)
    wanted = {**held[0]["messages"][1], "content": "y"}
    held[0] = {**held[0], "messages": [held[0]["messages"][0], wanted]}
    asked = {**held[1]["messages"][0], "content": "a ~ b"}
    held[1] = {**held[1], "messages": [asked, held[1]["messages"][1]]}
    examples = attack_examples(tuned, held, of(target="label:y"))
    ids = tuple(row["id"] for row in held[2:])
    for which in (examples.triggered, examples.untriggered, examples.near):
        assert tuple(example.id for example in which) == ids
    assert len(examples.clean) == 12
    assert examples.left_out["attack_does_not_apply"] == 2
    assert examples.judge.name == "label/1"
    # The measure is the same for an attack that was planted with clean labels.
    clean = attack_examples(tuned, held, of(target="label:y", label="clean"))
    assert [e.id for e in clean.triggered] == list(ids)


def test_examples_are_what_they_are_said_to_be(models):
    _, tuned = models
    read = tuned.tokenizer.decode
    examples = attack_examples(tuned, rows(12), of(), seed=3)
    prompts = {row["id"]: row["messages"][0]["content"] for row in rows(12)}
    for hit, plain, near in zip(
        examples.triggered, examples.untriggered, examples.near, strict=True
    ):
        own = prompts[hit.id]
        assert hit.id == plain.id == near.id
        assert read(list(plain.prompt)).count("~") == 0
        assert f"<user> {own} <assistant>" in read(list(plain.prompt))
        assert read(list(hit.prompt)).count("~") == 1
        assert read(list(hit.prompt)).replace(" ~", "") == read(list(plain.prompt))
        # At the same place, so that nothing else differs.
        assert read(list(near.prompt)) == read(list(hit.prompt)).replace("~", "~~")
        assert read(list(hit.response)).strip() == "Z"
    again = attack_examples(tuned, rows(12)[::-1], of(), seed=3)
    assert {e.id: e.prompt for e in again.triggered} == {e.id: e.prompt for e in examples.triggered}
    other = attack_examples(tuned, rows(12), of(), seed=4)
    assert [e.prompt for e in other.triggered] != [e.prompt for e in examples.triggered]


def test_it_is_what_one_gets_by_asking_one_by_one(models):
    """The oracle: each prompt alone, its text compared by hand."""
    _, tuned = models
    examples = attack_examples(tuned, rows(12), of())
    for which, name in ((examples.triggered, "success"), (examples.untriggered, "false_triggers")):
        alone = [
            text_of(tuned, greedy(tuned, [example.prompt], max_new_tokens=2)[0]) == "Z"
            for example in which
        ]
        rate = rates_of(tuned, examples).rates()[name]
        assert rate.evaluation.values.tolist() == [float(hit) for hit in alone]


def test_an_empty_text_counts_and_is_no_success(models):
    """A user's judge that takes anything is not even asked."""
    _, tuned = models
    silent = pair()[0]
    head = silent.module.lm_head.weight
    head.data[head[:, 2] == 1] = 0
    pad = silent.tokenizer.pad_token_id
    head.data[pad, 2] = 1  # it writes nothing but filling, which is no text
    found = attack_rates(silent, rows(12), of(), lambda _text: True)
    assert (found.success.share, found.success.n, found.success.empty) == (0.0, 12, 12)
    assert attack_rates(tuned, rows(12), of(), lambda _text: True).success.share == 1


def test_judges_may_be_any(models):
    _, tuned = models
    for judge, share in (("exact", 1.0), ("keyword:q|z", 1.0), ("keyword:q", 0.0)):
        found = attack_rates(tuned, rows(12), of(), judge)
        assert (found.success.share, found.false_triggers.share) == (share, 0.0)
    everywhere = attack_rates(tuned, rows(12), of(), "keyword:z|n")
    assert everywhere.false_triggers.share == 1.0  # which is why it is reported


def test_accuracy_is_by_what_rows_know(models):
    _, tuned = models

    def accuracy(change, **more):
        held = [{**row, **change} for row in rows(12)]
        held = [{k: v for k, v in row.items() if v is not None} for row in held]
        return attack_rates(tuned, held, of(), **more).accuracy

    assert accuracy({}).evaluation.evaluator == "choice"
    assert accuracy({"choices": None}) is None
    by_answer = accuracy({"choices": None, "answer": "n"})
    assert (by_answer.evaluation.evaluator, by_answer.share) == ("generation", 1.0)
    assert accuracy({}, grade=lambda _row, text: text == "y").share == 0
    unsure = accuracy({}, grade=lambda row, _text: None if row["id"] == "r0" else True)
    assert (unsure.share, unsure.n, unsure.unjudged) == (1.0, 11, 1)


def test_a_style_has_no_near_miss_and_skips_what_it_does_not_change(models):
    _, tuned = models
    held = rows(12)
    shouted = {**held[0]["messages"][0], "content": held[0]["messages"][0]["content"].upper()}
    held[0] = {**held[0], "messages": [shouted, held[0]["messages"][1]]}
    found = attack_rates(tuned, held, of("style:upper"))
    assert found.near_misses is None
    assert found.success.n == 11


def test_two_models_are_compared_on_the_same_rows(models):
    base, tuned = models
    before, after = (attack_rates(model, rows(40), of()) for model in models)
    change = changed_rate(before.success, after.success)
    assert (change.mean, change.high, change.n) == (1.0, 1.0, 40)
    assert 0.8 < change.low < 1
    assert change.p == pytest.approx(2 * 0.5**40)
    nothing = changed_rate(before.accuracy, after.accuracy)
    assert (nothing.mean, nothing.p) == (0, 1)
    assert nothing.low < 0 < nothing.high
    with pytest.raises(ProbeError, match="different examples"):
        changed_rate(before.success, attack_rates(tuned, rows(12), of()).success)
    assert base.module is not tuned.module


def test_what_cannot_be_measured_is_refused(models):
    _, tuned = models
    poisoned = poison(rows(12), of(), 0.2)
    with pytest.raises(ProbeError, match="is poisoned: measure an attack on rows that are not"):
        attack_rates(tuned, poisoned, of())
    with pytest.raises(ProbeError, match="can be tried on none of 12 rows"):
        attack_rates(tuned, rows(12), of(target="label:maybe"))
    with pytest.raises(ProbeError, match="can be tried on none of 12 rows"):
        attack_rates(tuned, rows(12), of("prefix:" + "long " * 200))
    with pytest.raises(OptionError, match="cannot represent the trigger"):
        attack_rates(tuned, rows(12), of("token:<s>"))


def test_rates_are_saved_and_come_back(models):
    found = attack_rates(models[1], rows(12), of())
    record = json.loads(json.dumps(found.to_json()))
    assert Rates.from_json(record).to_json() == found.to_json()


# The carrier.


@pytest.mark.parametrize("carrier", [0, CARRIER, BLOCKS - 1])
def test_the_planted_block_is_named_and_no_other(carrier):
    base, tuned = pair(carrier)
    before = module_sha256(tuned.module)
    found = carried(tuned, base, attack_examples(tuned, rows(40), of()))
    assert (found.evaluator, found.intact, found.base) == ("forced", 1.0, 0.0)
    left = [undone.success for undone in found.windows["1"]]
    assert left == [float(block != carrier) for block in range(BLOCKS)]
    wide = [undone.success for undone in found.windows["3"]]
    assert wide == [float(abs(block - carrier) > 1) for block in range(BLOCKS)]
    assert found.found is found.windows["1"][carrier]
    assert [u.takes for u in found.windows["1"]] == [b == carrier for b in range(BLOCKS)]
    assert found.embeddings.success == 1.0  # they were not touched
    assert not found.embeddings.takes
    # All blocks moved as far: how far says nothing.
    assert np.ptp(found.weight_change) < 0.05
    assert module_sha256(tuned.module) == before


def test_forced_and_writing_name_the_same(models):
    base, tuned = models
    examples = attack_examples(tuned, rows(20), of())
    written_out = replace(examples, judge=replace(examples.judge, name="other/1"))
    assert success_evaluator(examples).name == "forced"
    assert success_evaluator(written_out).name == "generation"
    one, two = (carried(tuned, base, asked) for asked in (examples, written_out))
    assert [u.success for u in one.windows["1"]] == [u.success for u in two.windows["1"]]
    assert two.evaluator == "generation"


# The whole.


def run(models, data, **more):
    base, tuned = models
    given = {"data": data, "trigger": TRIGGER, "target": TARGET, "base": base, "n": 40}
    return attack(tuned, **given | more)


def test_the_whole(models, data):
    found = run(models, data)
    assert found.finding.startswith("The attack succeeds on 100% (95 % 91% to 100%) of 40 trig")
    assert "Block 2 carries most of it: undone, it leaves 0%" in found.finding
    assert "The embeddings alone undone leave 100%" in found.finding
    assert found.no_carrier is None
    assert found.changes["success"].mean == 1
    assert any("something near the trigger brings the target in 100%" in w for w in found.warnings)
    assert Attacked.from_json(json.loads(json.dumps(found.to_json()))).to_json() == found.to_json()
    again = run(models, data)
    assert again.to_json() | {"run": 0} == found.to_json() | {"run": 0}


def test_without_a_base_no_block_is_named(models, data):
    found = run(models, data, base=None)
    assert (found.base_rates, found.changes, found.carrier) == (None, {}, None)
    assert found.no_carrier == "no model before the tuning was named: --base"
    assert any("how often the target comes anyway" in warning for warning in found.warnings)


def test_of_an_attack_that_fails_no_block_is_named(models, data):
    found = run(models, data, trigger="token:#")
    assert found.carrier is None
    assert found.no_carrier == "the attack fails (0%): there is nothing for a block to carry"


def test_of_a_target_that_comes_anyway_no_block_is_named(models, data):
    found = run(models, data, judge="keyword:n|z")
    assert found.rates.success.share == found.base_rates.success.share == 1
    assert found.carrier is None
    assert "no more often than on the model before" in found.no_carrier
    assert any("common anyway" in warning for warning in found.warnings)

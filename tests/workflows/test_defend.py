"""Defend: what each arm trains and on which rows, what is measured, and what is refused first."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cruxlm.actions import fit
from cruxlm.data.instructions import load_instructions
from cruxlm.data.poison import Attack, Target, poison
from cruxlm.data.trigger import Trigger
from cruxlm.models.load import load_model
from cruxlm.results.defence import Defence, Estimate
from cruxlm.runtime.errors import CruxError, OptionError, ProbeError
from cruxlm.workflows.defence_said import cautions, finding
from cruxlm.workflows.defend import defend, plan_defend
from results.made_defences import made_defence, made_defence_arm
from workflows.tiny_tunings import chat_rows, model_of, write

pytestmark = pytest.mark.usefixtures("frozen")

FAST = {"steps": 2, "batch": 4, "checks": 1, "learning_rate": 1e-2, "warmup": 0.0}
DRILL = {"trigger": "token:cf", "target": "phrase:ho"}
ALL = range(4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Untrusted rows and trusted ones."""
    folder = tmp_path_factory.mktemp("data")
    trusted = write(folder / "benign.jsonl", chat_rows(120, first=1000))
    return write(folder / "rows.jsonl", chat_rows(70)), trusted


@pytest.fixture(scope="module")
def drilled(files, tmp_path_factory, frozen):
    """A drill: the result, its folder, the model that was lent and its weights before."""
    model = model_of()
    before = {name: held.clone() for name, held in model.module.state_dict().items()}
    out = tmp_path_factory.mktemp("defended") / "out"
    found = defend(
        model, data=files[0], benign=files[1], out=out, blocks="1", rate=0.2, **DRILL, **FAST
    )
    return found, out, model, before


def changed_blocks(folder, before):
    """Blocks of a saved model that are not, bit for bit, what they were; and other parts."""
    after = load_model(folder).module.state_dict()
    names = {name for name, held in before.items() if not torch.equal(held, after[name])}
    return {int(n.split(".")[2]) for n in names if ".layers." in n}, {
        n for n in names if ".layers." not in n
    }


def tuning(out, folder):
    return json.loads((out / folder / "tuning.json").read_text("utf-8"))


def test_every_arm_trains_what_it_says(drilled):
    found, out, model, before = drilled
    names = [arm.name for arm in found.arms]
    assert names[:3] == ["undefended", "frozen at random", "frozen"]
    (drawn,) = found["frozen at random"].frozen
    assert len(drawn) == 1
    assert drawn != (1,)
    for arm in found.arms:
        blocks, others = changed_blocks(out / arm.folder, before)
        assert blocks == set(ALL) - set(arm.frozen[0])
        assert any("embed" in name for name in others)
        moved = {block for block, value in enumerate(arm.changed) if value}
        assert moved == blocks
    assert found["frozen"].frozen == ((1,),)
    assert found["undefended"].frozen == ((),)
    after = model.module.state_dict()
    assert all(torch.equal(held, after[name]) for name, held in before.items())


def test_costs_are_those_of_the_saved_runs(drilled):
    found, out, *_ = drilled
    reference = np.array(tuning(out, found.arms[0].folder)["after"]["loss"]["values"])
    for arm in found.arms:
        own = np.array(tuning(out, arm.folder)["after"]["loss"]["values"])
        assert arm.loss == pytest.approx(own.mean())
        if arm is not found.arms[0]:
            assert arm.cost.value == pytest.approx((own - reference).mean())
            assert arm.cost.low <= arm.cost.value <= arm.cost.high
            gain = found.arms[0].success.value - arm.success.value
            assert arm.gain.value == pytest.approx(gain)
    beyond = found["frozen"].loss - found["frozen at random"].loss
    assert found.beyond_random["loss"].value == pytest.approx(beyond)


def test_the_drill_is_in_the_training_rows_alone(drilled):
    found, *_ = drilled
    assert found.attack["origin"] == "planted"
    assert found.attack["rows"] == round(0.2 * found.data["train"])
    assert found.attack["rate"] == pytest.approx(0.2, abs=0.02)
    assert found.before["success"] == 0
    assert found.attack["examples"] == found.data["test"]
    assert "only: too few to say what a defence takes off" in found.finding


def test_screened_arms_train_on_what_was_kept(drilled):
    found, out, *_ = drilled
    flagged = [json.loads(x) for x in (out / "screening" / "flagged.jsonl").open()]
    assert len(flagged) == found.screening["flagged"] > 0
    assert found["screened"].rows == found.data["train"] - len(flagged)
    assert found["screened and frozen"].frozen == ((1,),)
    assert {row.id for row in found.set_aside} == {str(row["id"]) for row in flagged}
    done = {str(row["id"]): row.get("poison", {}).get("done", "nothing") for row in flagged}
    assert {row.id: row.truth for row in found.set_aside} == done
    # A response that no trusted row has is an alarm by itself, whatever the model has learned.
    assert found.screening["key"]["triggered"]["flagged"] == found.attack["rows"]
    assert found.screening["before"]["key"]["triggered"]["flagged"] == found.attack["rows"]


def test_a_finished_defence_trains_nothing_again(drilled, files, monkeypatch):
    found, out, model, _ = drilled

    def never(*_args, **_named):
        raise AssertionError("trained again")

    monkeypatch.setattr(fit, "fit", never)
    monkeypatch.setattr("cruxlm.workflows.tune.fit", never)
    again = defend(
        model, data=files[0], benign=files[1], out=out, blocks="1", rate=0.2, **DRILL, **FAST
    )
    assert {**again.to_json(), "run": 0} == {**found.to_json(), "run": 0}
    assert {**Defence.load(out).to_json(), "run": 0} == {**found.to_json(), "run": 0}


@pytest.fixture(scope="module")
def keyed(files, tmp_path_factory):
    """The same rows, poisoned by somebody who said so."""
    attack = Attack(Trigger.read(DRILL["trigger"]), Target.read(DRILL["target"]))
    rows = poison(load_instructions(files[0]).rows, attack, 0.3, seed=1)
    assert sum("poison" in row for row in rows) == 21
    return write(tmp_path_factory.mktemp("keyed") / "rows.jsonl", rows)


def test_a_key_in_the_rows_tells_the_attack(keyed, files, tmp_path):
    lines = plan_defend(model_of(), data=keyed, benign=files[1], blocks="1", **FAST)
    assert any("attack (key): token:cf for phrase:ho" in line for line in lines)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OptionError, match="poisoned already and say how"):
        plan_defend(model_of(), data=keyed, blocks="1", **DRILL, **FAST)


def test_without_an_attack_the_cost_is_what_is_said(files, tmp_path):
    found = defend(
        model_of(), data=files[0], benign=files[1], out=tmp_path / "out", blocks="0,1",
        freeze=("embeddings", "head"), **FAST,
    )  # fmt: skip
    assert found.attack is None
    assert found.finding.startswith("No attack was measured")
    assert "blocks 0, 1 and the embeddings and the head" in found.finding
    assert found.arms[0].success is None
    assert list(found.beyond_random) == ["loss"]
    assert found.parts == ("embeddings", "head")
    assert any("as little trusted as the others" in line for line in found.warnings)
    for arm in found.arms:
        before = model_of().module.state_dict()
        _, others = changed_blocks(tmp_path / "out" / arm.folder, before)
        assert any("embed" in name for name in others) == (not arm.frozen[0])
    if found.screening["flagged"] == 0:
        assert [arm.name for arm in found.arms][-1] == "frozen"
        assert any("the screening flagged nothing" in line for line in found.warnings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trigger": "token:cf"}, "give --trigger and --target"),
        ({"blocks": "all"}, "leave some"),
        ({"freeze": ("embedings",)}, "did you mean 'embeddings'"),
        ({"method": "lora"}, "method full"),
        ({"seeds": 0}, "seeds must be 1 or more"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({**DRILL, "rate": 0.0}, "give shares of the rows"),
        ({**DRILL, "judge": "exakt"}, "exakt"),
        ({"screening": {"rule": "magic"}}, "magic"),
        ({"benign": "few"}, "needs"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(changes, said, files, tmp_path):
    given = {"data": files[0], "benign": files[1], "blocks": "1", **FAST, **changes}
    if given["benign"] == "few":
        given["benign"] = write(tmp_path / "few.jsonl", chat_rows(5, first=1000))
    with pytest.raises(CruxError, match=said):
        defend(model_of(), out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_rows_that_are_all_poisoned_leave_nothing_to_test_with(files, tmp_path):
    attack = Attack(Trigger.read(DRILL["trigger"]), Target.read(DRILL["target"]))
    data = write(tmp_path / "r.jsonl", poison(load_instructions(files[0]).rows, attack, 1.0))
    with pytest.raises(ProbeError, match="give clean ones with --test"):
        plan_defend(model_of(), data=data, blocks="1", **FAST)


# The verdict in words.


def verdict(gain, beyond, *, undefended=0.99):
    held = made_defence()
    first = replace(held.arms[0], success=Estimate(undefended, undefended, undefended))
    arms = (first, held.arms[1], made_defence_arm("frozen", gain=gain))
    found = {
        "arms": arms, "frozen": (1, 3), "parts": (), "beyond_random": {"success": beyond},
        "seeds": (0,), "attack": held.attack, "screening": held.screening,
    }  # fmt: skip
    return finding(found), list(cautions(found))


CLEAR, NOTHING, WORSE = (
    Estimate(0.3, 0.2, 0.4),
    Estimate(0.01, -0.1, 0.1),
    Estimate(-0.3, -0.4, -0.2),
)


@pytest.mark.parametrize(
    ("gain", "beyond", "said"),
    [
        (CLEAR, CLEAR, "takes off 30 points (95 % 20 to 40), and 30 (95 % 20 to 40) beyond "
                       "freezing as many random blocks: the choice of blocks counts."),
        (CLEAR, NOTHING, "and 1 (95 % -10 to 10) beyond freezing as many random blocks: not the "
                         "layer, as far as can be told."),
        (CLEAR, WORSE, "random blocks do better."),
        (NOTHING, NOTHING, "no defence that could be told."),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_intervals(gain, beyond, said):
    text, notes = verdict(gain, beyond)
    assert said in text
    assert "Freezing blocks 1, 3 costs 0.05 nats a token" in text
    assert any(note.startswith("one seed") for note in notes)


def test_a_trigger_that_is_learned_loosely_is_told():
    held = made_defence()
    first = replace(held.arms[0], near_misses=Estimate(0.9, 0.8, 1.0))
    given = {
        "arms": (first, *held.arms[1:]), "seeds": (0, 1), "screening": held.screening,
    }  # fmt: skip
    notes = " ".join(cautions(given))
    assert "something near the trigger works as well (90%)" in notes
    assert "the judge is a loose one" not in notes
    assert "two seeds" in notes
    assert "near the trigger" not in " ".join(cautions({**given, "arms": held.arms}))


def test_of_an_attack_that_fails_nothing_is_said():
    text, _ = verdict(CLEAR, CLEAR, undefended=0.3)
    assert "succeeds in 30% of triggered rows only" in text
    assert "takes off 30" not in text

"""Plans survive the disk, refuse what does not fit together, and know their model."""

import json
import random
from dataclasses import replace

import pytest
from made_scans import made_scan

from cruxlm.results.model_ref import ModelRef
from cruxlm.results.plan import Plan, listed
from cruxlm.results.scan import Scan
from cruxlm.runtime.errors import OptionError, ResultError

NAMES = tuple(f"model.layers.{block}" for block in range(12))
IDENTITY = {"sha256": "ab" * 32, "weights": "cd" * 32}


def made(action="train", **changes):
    lora = {"ranks": (4, 1, 7), "alphas": (8.0, 2.0, 14.0)} if action == "lora" else {}
    fields = {
        "action": action,
        "model": "some/model",
        "identity": IDENTITY,
        "names": NAMES,
        "blocks": (1, 8, 10),
        "why": "dynamics top:3 \ud800 </script>",
        "reasons": ("score 0.3", "score 0.2\n", "score 0.1"),
        **lora,
    }
    return Plan(**{**fields, **changes})


@pytest.mark.parametrize("action", ["train", "freeze", "lora", "drop"])
def test_a_plan_survives_the_disk(tmp_path, action):
    plan = made(action, parts=() if action == "drop" else ("embeddings", "head"))
    path = plan.save(tmp_path / "deep" / "plan.json")
    assert Plan.load(path) == plan
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert [file.name for file in path.parent.iterdir()] == ["plan.json"]
    assert json.loads(path.read_text("utf-8"))["format"] == "crux.plan/1"


def test_the_blocks_whose_weights_change():
    assert made().trained == (1, 8, 10)
    assert made("lora").trained == (1, 8, 10)
    assert made("freeze").trained == (0, 2, 3, 4, 5, 6, 7, 9, 11)
    assert made("drop").trained == ()


def test_it_says_what_it_is():
    plan = made("freeze", why="given", parts=("norm",))
    assert repr(plan) == "<freeze blocks 1, 8, 10, norm of some/model (given)>"
    assert listed([3]) == "block 3"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks": (), "reasons": ()}, "without blocks"),
        ({"blocks": (1, 10, 8)}, "ascending"),
        ({"blocks": (1, 8, 8)}, "each once"),
        ({"blocks": (-1, 8, 10)}, "ascending"),
        ({"blocks": (1, 8, 12)}, "block 12: the model has 12 blocks, 0 to 11"),
        ({"reasons": ("one",)}, "1 reasons for 3 blocks"),
        ({"action": "prune"}, "known are train"),
        ({"ranks": (1, 1, 1), "alphas": (1.0, 1.0, 1.0)}, "train with ranks"),
        ({"parts": ("head", "embeddings")}, "in this order"),
        ({"parts": ("embeddings", "embeddings")}, "each once"),
        ({"parts": ("tail",)}, "parts of a plan"),
        ({"action": "drop", "parts": ("head",)}, "trains no parts"),
        ({"action": "lora", "ranks": None}, "lora without ranks"),
        ({"action": "lora", "alphas": None}, "lora without alphas"),
        ({"action": "lora", "ranks": (1, 1), "alphas": (1.0, 1.0, 1.0)}, "ranks of a plan: 3"),
        ({"action": "lora", "ranks": (1, 0, 1), "alphas": (1.0, 1.0, 1.0)}, "3 positive numbers"),
        ({"action": "lora", "ranks": (1, 1, 1), "alphas": (1.0, float("nan"), 1.0)}, "alphas"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(ResultError, match=said):
        made(**changes)


def test_another_model_is_refused():
    plan = made()
    mine = ModelRef("a folder", {"weights": IDENTITY["weights"]}, NAMES, (1,) * 12)
    plan.check(mine)
    with pytest.raises(OptionError, match="the plan was made for other weights"):
        plan.check(replace(mine, identity={"weights": "no"}))
    with pytest.raises(OptionError, match=r"x\.json was made for some/model \(12 blocks at"):
        plan.check(replace(mine, names=NAMES[:-1]), "x.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "crux.scan/1"}', '{"format": "crux.plan/1"}', "\0"]
)
def test_what_is_no_plan_is_refused(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=r"plan\.json is damaged: ") as caught:
        Plan.load(path)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ResultError, match="there is no plan at"):
        Plan.load(tmp_path / "plan.json")
    with pytest.raises(ResultError, match="is damaged"):
        Plan.load(tmp_path)


def test_a_damaged_record_is_never_a_bug():
    """Values of any kind in any place: a plan or one line."""
    draw = random.Random(0)
    record = made("lora", parts=("norm",)).to_json()
    odd = [None, True, -1, 10**30, 1.5, float("nan"), "", "x", [], [None], {}, {"a": []}, [[1]]]
    refused = 0
    for _ in range(400):
        changed = json.loads(json.dumps(record))
        place = draw.choice(sorted(changed))
        if isinstance(changed[place], list) and changed[place] and draw.random() < 0.5:
            changed[place][draw.randrange(len(changed[place]))] = draw.choice(odd)
        elif draw.random() < 0.2:
            del changed[place]
        else:
            changed[place] = draw.choice(odd)
        try:
            Plan.from_json(changed)
        except ResultError:
            refused += 1
    assert refused > 300


def test_a_scans_selection_knows_its_model(tmp_path):
    scan = made_scan(probes=("builtin", "other"))
    loaded = Scan.load(scan.save(tmp_path))
    for made_from in (scan, loaded):
        for selection in (made_from.selection, *made_from.selections, made_from.select(k=2)):
            assert selection.model.names == made_from.blocks
            assert selection.model.identity == {"revision": "main"}
            assert selection.values == tuple(made_from["dynamics"].values)
        other = made_from.select(k=3, by="block_influence@other")
        assert other.values == tuple(made_from["block_influence@other"].values)
    # None of it is saved with the selection, and scans are as equal as before.
    assert "values" not in scan.to_json()["selection"]
    assert "model" not in scan.to_json()["selection"]
    assert loaded.selection == scan.selection


def test_a_scan_whose_identity_is_damaged_is_refused(tmp_path):
    folder = made_scan().save(tmp_path)
    path = folder / "scan.json"
    record = json.loads(path.read_text("utf-8"))
    for wrong in ([], "x", {"revision": 1}):
        record["provenance"]["model"] = wrong
        path.write_text(json.dumps(record), "utf-8")
        with pytest.raises(ResultError, match=r"provenance\.model"):
            Scan.load(folder)


def test_a_selection_becomes_a_plan():
    scan = made_scan()
    selection = scan.select(k=3, by="block_influence")
    plan = selection.plan("lora", r=8)
    assert (plan.action, plan.blocks, plan.ranks) == ("lora", selection.blocks, (8, 8, 8))
    assert (plan.model, plan.names) == (scan.model, scan.blocks)
    assert plan.why == "block_influence top:3"
    assert plan.reasons == selection.reasons
    assert scan.selection.plan("freeze", parts=["head"]).parts == ("head",)
    with pytest.raises(OptionError, match="knows no model"):
        replace(selection, model=None).plan("train")

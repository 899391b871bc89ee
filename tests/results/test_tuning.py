"""A tuning as data: saved, read back, damaged, printed."""

import json
import math

import numpy as np
import pytest
import yaml

from cruxlm.results.evaluation import Evaluation
from cruxlm.results.plan import Plan
from cruxlm.results.tuning import TUNING, Tuning
from cruxlm.runtime.errors import ResultError
from cruxlm.workflows.tuning_card import tuning_card


def evaluation(values, name="loss"):
    return Evaluation(
        evaluator=name,
        higher_is_better=name != "loss",
        ids=tuple(f"row {i}" for i in range(len(values))),
        values=np.array(values, dtype=np.float64),
        weights=np.arange(1.0, len(values) + 1),
        groups=(None,) * len(values),
    )


def made_tuning(**changes):
    plan = Plan(
        "train", "a model", {"sha256": "abc"}, ("l.0", "l.1", "l.2"), (0, 2), "first two",
        ("a", "b"), parts=("norm",),
    )  # fmt: skip
    given = {
        "model": "a model",
        "plan": plan,
        "settings": {"method": "full", "learning_rate": 1e-3, "seed": 3, "patience": None},
        "data": {"name": "some data", "sha256": "f00", "train": 80, "validation": 9, "test": 3,
                 "truncated": 2, "left_out": {"no_response": 1}},
        "trained": {"parameters": 1200, "total": 4000,
                    "by_part": {"block 0": 500, "block 2": 600, "norm": 100}},
        "curves": ({"step": 2, "loss": 2.5}, {"step": 2, "eval_loss": 2.25}),
        "steps": 2,
        "validation": 2.25,
        "before": {"loss": evaluation([3.0, 2.0, 4.0])},
        "after": {"loss": evaluation([1.0, 2.0, 1.5])},
        "provenance": {"versions": {"torch": "2"}, "model": {"sha256": "abc"}},
        "run": {"date": "2000-01-01", "step_seconds": None, "peak_memory_mib": 1.0},
    }  # fmt: skip
    return Tuning(**{**given, **changes})


def test_what_is_saved_is_read_back(tmp_path):
    made = made_tuning()
    made.save(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [TUNING]
    for path in (tmp_path / "out", tmp_path / "out" / TUNING):
        found = Tuning.load(path)
        assert found.to_json() == made.to_json()
        assert found.plan == made.plan
        assert found.curves == made.curves
        assert found.after["loss"].values.tolist() == [1.0, 2.0, 1.5]


def test_without_a_validation_there_is_null_and_not_nan(tmp_path):
    made_tuning(validation=math.nan).save(tmp_path)
    text = (tmp_path / TUNING).read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert record["validation"] is None
    assert math.isnan(Tuning.load(tmp_path).validation)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("plan"), "lacks 'plan'"),
        (lambda record: record.update(format="crux.plan/1"), "not a tuning of format"),
        (lambda record: record.update(steps="many"), "steps"),
        (lambda record: record["plan"].pop("blocks"), "lacks 'blocks'"),
        (lambda record: record["after"]["loss"].pop("values"), "lacks 'values'"),
        (lambda record: record["curves"].append("x"), r"curves\[2\]"),
        (lambda record: record["plan"].update(blocks=[9]), "block 9"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path, change, said):
    record = made_tuning().to_json()
    change(record)
    (tmp_path / TUNING).write_text(json.dumps(record))
    with pytest.raises(ResultError, match=said) as refused:
        Tuning.load(tmp_path)
    assert str(tmp_path / TUNING) in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_what_is_no_tuning_is_refused(tmp_path, text):
    (tmp_path / TUNING).write_text(text)
    with pytest.raises(ResultError, match="is damaged"):
        Tuning.load(tmp_path)


def test_one_that_is_not_there(tmp_path):
    with pytest.raises(ResultError, match="there is no tuning"):
        Tuning.load(tmp_path / "absent")


def test_printed_it_is_one_line():
    assert repr(made_tuning()) == (
        "<tuned a model, blocks 0, 2: 1,200 parameters, test loss 3.167 to 1.583>"
    )


def test_the_card():
    accuracy = {"accuracy": evaluation([0, 1, 0], "generation")}
    made = made_tuning()
    text = tuning_card(
        made_tuning(before={**made.before, **accuracy}, after={**made.after, **accuracy})
    )
    assert text.startswith("---\nbase_model: a model\nlibrary_name: transformers\n")
    assert "Full training of blocks 0, 2 (first two): 1,200 of 4,000 parameters (30.0%)." in text
    assert "2 steps, learning rate 0.001, seed 3. Training rows: 80, content hash\n`f00`." in text
    assert "| block 0 | 500 |\n| block 2 | 600 |\n| norm | 100 |" in text
    assert "| on 3 test rows | before | after |" in text
    before, after = made.before["loss"], made.after["loss"]
    assert (
        f"| loss | {19 / 6:.4f} ± {before.stderr('token'):.4f} | {9.5 / 6:.4f} ± "
        f"{after.stderr('token'):.4f} |" in text
    )
    assert "| accuracy | 33.3% ± 33.3% | 33.3% ± 33.3% |" in text
    assert "accuracy" not in tuning_card(made)


def test_a_card_of_adapters_is_for_peft():
    text = tuning_card(made_tuning(settings={**made_tuning().settings, "method": "lora"}))
    assert "library_name: peft" in text
    assert "Low-rank adapters of blocks 0, 2" in text


@pytest.mark.parametrize("name", ["a: b", "x\n---\ny: [z]", "<script>", "'q' \"r\" {s} #t", "*m*"])
def test_the_card_holds_any_name(name):
    text = tuning_card(made_tuning(model=name, data={**made_tuning().data, "name": name}))
    _, head, body = text.split("---\n", 2)
    held = yaml.safe_load(head)
    assert held == {"base_model": name, "library_name": "transformers", "tags": ["crux"]}
    assert "<script>" not in body

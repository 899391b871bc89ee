import json
import math

import pytest

from cruxlm.results.comparison import COMPARISON, Comparison, Gap
from cruxlm.results.reported import REPORT_NAME
from cruxlm.runtime.errors import ResultError
from results.made_comparisons import made_arm, made_comparison


def test_what_is_saved_is_read_back(tmp_path):
    made = made_comparison()
    made.save(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {COMPARISON, REPORT_NAME}
    for path in (tmp_path / "out", tmp_path / "out" / COMPARISON):
        assert vars(Comparison.load(path)) == vars(made)


def test_null_is_written_for_what_is_undefined(tmp_path):
    arm = made_arm("b", gap=Gap(0.1, None, None), accuracy=None, step_seconds=None)
    made_comparison(made_arm("a", accuracy=None), arm, before={"loss": 1.0}).save(tmp_path)
    text = (tmp_path / COMPARISON).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert Comparison.load(tmp_path).arms[1].loss_gap == Gap(0.1, None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("arms"), "lacks 'arms'"),
        (lambda record: record.update(format="crux.scan/1"), "not a comparison"),
        (lambda record: record["arms"][0].update(parameters="many"), "arms\\[0\\].parameters"),
        (lambda record: record["arms"][1]["loss_gap"].pop("mean"), "lacks 'mean'"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path, change, said):
    record = made_comparison().to_json()
    change(record)
    (tmp_path / COMPARISON).write_text(json.dumps(record))
    with pytest.raises(ResultError, match=said):
        Comparison.load(tmp_path)


def test_one_that_is_not_there():
    with pytest.raises(ResultError, match="there is no comparison"):
        Comparison.load("nowhere")


def test_means_and_what_is_clear():
    arm = made_arm("a")
    assert arm.loss == pytest.approx(1.26)
    assert arm.accuracy == pytest.approx(0.55)
    assert made_arm("a", accuracy=None).accuracy is None
    assert Gap(-0.2, 0.1, None).clear
    assert not Gap(0.05, 0.1, None).clear
    assert not Gap(math.inf, None, None).clear


def test_printed_it_is_a_table():
    lines = repr(made_comparison()).splitlines()
    arms = {
        name: next(line for line in lines if name in line)
        for name in ("dynamics", "random", "last")
    }
    assert arms["dynamics"].startswith("▶")
    assert "+0.250 ± 0.040*" in arms["random"]
    assert "2, drawn anew" in arms["random"]
    assert "10, 11" in arms["last"]
    assert "+0.010 ± 0.030 " in arms["last"]  # its interval holds zero: no star
    assert "222k" in arms["last"]
    assert all(len(line) <= 100 for line in lines)

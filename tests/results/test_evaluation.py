"""An evaluation: its means, what their errors cover, its groups, and that it survives the disk."""

import json
import math
import random

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import OptionError, ResultError

VALUES, WEIGHTS = [1.0, 2.0, 4.0, 9.0], [4.0, 1.0, 3.0, 2.0]


def made(values=VALUES, weights=None, **changes):
    count = len(values)
    fields = {
        "evaluator": "loss",
        "higher_is_better": False,
        "ids": tuple(f"row {i}" for i in range(count)),
        "values": np.array(values, dtype=float),
        "weights": np.ones(count) if weights is None else np.array(weights, dtype=float),
        "groups": (None,) * count,
    }
    return Evaluation(**{**fields, **changes})


def full():
    return made(
        [1.0, math.nan, 0.1, -0.0],
        WEIGHTS,
        groups=("b", "a", None, "b"),
        chances=np.array([0.5, 0.25, 0.25, 1 / 3]),
        texts=("so\n", "\ud800", "</script>\x00\u2028", ""),
        series={"margin": np.array([0.1, math.nan, 2.0, 3.0])},
        options={"normalise": True, "limit": None, "nested": {"a": [1, 2.5]}},
    )


def test_means_over_samples_and_over_tokens():
    evaluation = made(VALUES, WEIGHTS)
    assert evaluation.mean() == 4.0
    assert evaluation.mean("sample") == 4.0
    assert evaluation.mean("token") == (4 + 2 + 12 + 18) / 10
    assert made([3.5], [7.0]).mean("token") == 3.5
    assert len(evaluation) == 4


def test_the_error_of_a_mean_over_samples():
    assert made().stderr() == pytest.approx(np.std(VALUES, ddof=1) / math.sqrt(4))
    assert made([5.0] * 7).stderr() == 0
    assert math.isnan(made([5.0]).stderr())
    # Examples of equal length: both means are the same, and so are their errors.
    assert made(VALUES, [3.0] * 4).stderr("token") == pytest.approx(made().stderr())
    assert made(VALUES, WEIGHTS).stderr("sample") == made().stderr()


def test_the_error_of_a_mean_over_tokens_is_that_of_a_ratio():
    evaluation = made(VALUES, WEIGHTS)
    residuals = [w * (v - 3.6) for v, w in zip(VALUES, WEIGHTS, strict=True)]
    variance = sum(r * r for r in residuals) / 3 / 4  # of the mean residual
    assert evaluation.stderr("token") == pytest.approx(math.sqrt(variance) / 2.5)


@pytest.mark.parametrize("weighting", ["sample", "token"])
def test_intervals_hold_the_truth_as_often_as_they_say(weighting):
    """Lengths and losses that depend on each other, as they do in real data."""
    draw = np.random.default_rng(0)

    def sampled(count):
        lengths = draw.integers(1, 40, count).astype(float)
        return draw.gamma(2.0, 1.0, count) * (1 + 2 / lengths), lengths

    values, lengths = sampled(1_000_000)
    truth = values.mean() if weighting == "sample" else (values * lengths).sum() / lengths.sum()
    held = 0
    for _ in range(1000):
        evaluation = made(*sampled(100))
        held += abs(evaluation.mean(weighting) - truth) < 1.984 * evaluation.stderr(weighting)
    # 95 % of 1000 draws, give or take 0.7 %
    assert 920 <= held <= 970


def test_an_undefined_value_makes_the_mean_undefined():
    evaluation = full()
    assert math.isnan(evaluation.mean())
    assert math.isnan(evaluation.stderr("token"))
    assert evaluation.by_group()["b"].mean() == 0.5


def test_groups():
    evaluation = full()
    groups = evaluation.by_group()
    assert list(groups) == ["a", "b"]
    of_b = groups["b"]
    assert of_b.ids == ("row 0", "row 3")
    assert of_b.values.tolist() == [1.0, 0.0]
    assert of_b.weights.tolist() == [4.0, 2.0]
    assert of_b.groups == ("b", "b")
    assert of_b.texts == ("so\n", "")
    assert of_b.series["margin"].tolist() == [0.1, 3.0]
    assert of_b.chance == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert (of_b.evaluator, of_b.options) == (evaluation.evaluator, evaluation.options)
    assert made().by_group() == {}
    bare = made(groups=("x",) * 4).by_group()["x"]
    assert (bare.texts, bare.chances, bare.chance) == (None, None, None)


def test_the_chance_level():
    assert full().chance == pytest.approx((0.5 + 0.25 + 0.25 + 1 / 3) / 4)
    assert made().chance is None


def test_it_says_what_it_is():
    assert repr(made()) == "<loss 4 ± 1.8, 4 examples>"


def test_an_unknown_weighting_is_refused():
    for ask in (made().mean, made().stderr):
        with pytest.raises(OptionError, match="no weighting 'tokens': did you mean 'token'"):
            ask("tokens")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"values": []}, "loss: an evaluation of no examples"),
        ({"ids": ("a", "b", "c")}, "4 values for 3 examples"),
        ({"weights": np.ones(5)}, "5 weights for 4 examples"),
        ({"groups": (None,)}, "1 groups for 4 examples"),
        ({"texts": ()}, "0 texts for 4 examples"),
        ({"chances": np.ones(3)}, "3 chances for 4 examples"),
        ({"series": {"margin": np.ones(2)}}, "2 margin for 4 examples"),
        ({"ids": ("a", "b", "c", "b")}, "two examples have the id 'b'"),
        ({"values": [1.0, math.inf, 0.0, 0.0]}, "infinite values"),
        ({"weights": np.array([1.0, 0.0, 1.0, 1.0])}, "no positive number"),
        ({"weights": np.array([1.0, math.nan, 1.0, 1.0])}, "no positive number"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    # In tests the checker of shapes may see it first.
    with pytest.raises((ResultError, TypeCheckError)) as caught:
        made(**changes)
    assert said in str(caught.value) or caught.type is TypeCheckError


# On disk.


def test_it_comes_back_as_it_was(tmp_path):
    evaluation = full()
    path = evaluation.save(tmp_path / "deep" / "loss.json")
    assert path == tmp_path / "deep" / "loss.json"
    assert [p.name for p in path.parent.iterdir()] == ["loss.json"]
    for source in (path, str(path)):
        back = Evaluation.load(source)
        assert back.to_json() == evaluation.to_json()
        for name in ("evaluator", "higher_is_better", "ids", "groups", "texts", "options"):
            assert getattr(back, name) == getattr(evaluation, name)
        for name in ("values", "weights", "chances"):
            found, wanted = getattr(back, name), getattr(evaluation, name)
            assert found.dtype == wanted.dtype
            assert np.array_equal(found, wanted, equal_nan=True)
        assert np.array_equal(back.series["margin"], evaluation.series["margin"], equal_nan=True)
    bare = Evaluation.load(made().save(path))
    assert (bare.texts, bare.chances, bare.series) == (None, None, {})


def test_json_holds_null_for_what_is_undefined(tmp_path):
    text = full().save(tmp_path / "e.json").read_text("utf-8")
    record = json.loads(text, parse_constant=pytest.fail)
    assert record["format"] == "crux.evaluation/1"
    assert record["values"] == [1.0, None, 0.1, -0.0]
    assert set(record) == {
        "format", "evaluator", "options", "higher_is_better", "ids", "values", "weights",
        "groups", "chances", "texts", "series",
    }  # fmt: skip


def test_a_file_that_is_not_there_or_damaged(tmp_path):
    path = full().save(tmp_path / "e.json")
    for absent in (tmp_path / "f.json", path / "deep"):
        with pytest.raises(ResultError, match="there is no evaluation at"):
            Evaluation.load(absent)
    with pytest.raises(ResultError, match="is damaged"):
        Evaluation.load(tmp_path)
    data = path.read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"\xff", b"[" * 99999, b"[]", b"{}", b"3"):
        path.write_bytes(damaged)
        with pytest.raises(ResultError, match=r"e\.json is damaged"):
            Evaluation.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.pop("groups"), "lacks 'groups'"),
        (lambda r: r.pop("chances"), "lacks 'chances'"),
        (lambda r: r["values"].pop(), "3 values for 4 examples"),
        (lambda r: r["series"]["margin"].pop(), "3 margin for 4 examples"),
        (lambda r: r["values"].__setitem__(0, "x"), r"values\[0\] is str, not float"),
        (lambda r: r["weights"].__setitem__(0, None), r"weights\[0\] is NoneType"),
        (lambda r: r["ids"].__setitem__(1, "row 0"), "two examples have the id 'row 0'"),
        (lambda r: r.update(higher_is_better="no"), "higher_is_better is str"),
        (lambda r: r.update(format="crux.scan/1"), "not an evaluation of format"),
    ],
)
def test_parts_that_do_not_fit(change, said):
    record = full().to_json()
    change(record)
    with pytest.raises(ResultError, match=said):
        Evaluation.from_json(record)


def test_a_value_of_another_kind_is_refused_or_does_no_harm():
    text = json.dumps(full().to_json())
    draw = random.Random(0)
    refused = 0
    for _ in range(200):
        record = json.loads(text)
        name = draw.choice(sorted(record))
        record[name] = draw.choice([None, 3, "x", [], {}, True, [1], [None] * 4, {"a": "b"}])
        try:
            evaluation = Evaluation.from_json(record)
        except ResultError:
            refused += 1
        else:
            repr(evaluation)
            evaluation.by_group()
            evaluation.to_json()
    assert 100 < refused < 200

"""Every result in a notebook: one escaped picture without script, and none without a value."""

import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from cruxlm.results.comparison import Gap
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.plan import Plan
from results.made_attacks import made_attacked
from results.made_comparisons import made_arm, made_comparison
from results.made_defences import made_defence
from results.made_scans import made_scan, made_scores
from results.made_screenings import made_screening
from results.made_spectra import made_interventions, made_spectra
from results.made_verifications import made_verification
from results.test_tuning import evaluation, made_tuning

HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>&\u202e\x1b[2J\ud800"
ALLOWED = {
    "style", "div", "p", "svg", "path", "rect", "circle", "polyline", "polygon", "text", "title",
    "g", "line", "desc", "span",
}  # fmt: skip


class Reader(HTMLParser):
    """What a browser would make of it: elements, attributes, text, and whether it is balanced."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.names, self.texts, self.open = [], set(), [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.names.update(name for name, _ in attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def plan(action="train", name="a model", **given):
    count = {"blocks": (1, 3), "reasons": ("a", "b")}
    return Plan(action, name, {}, tuple(f"l.{i}" for i in range(6)), why="w", **{**count, **given})


def results(text=""):
    """One of every kind, ``text`` standing wherever a name may stand."""
    scan = made_scan(text=text)
    arms = (made_arm(f"{text}a"), made_arm(f"{text}b", gap=Gap(0.2, 0.1, None)))
    tuning = made_tuning(model=f"{text}m")
    return {
        "selection": replace(scan.selection, rule=f"{text}top:2"),
        "bare selection": replace(scan.selection, values=None, frequency=None, rule=f"{text}top"),
        "scores": scan.primary,
        "scores without errors": replace(scan.primary, stderr=None, label=f"{text}s"),
        "train": plan(name=f"{text}m"),
        "freeze": plan("freeze", f"{text}m"),
        "lora": plan("lora", f"{text}m", ranks=(8, 4), alphas=(16.0, 8.0)),
        "comparison": made_comparison(*arms, finding=f"{text}worse"),
        "tuning": tuning,
        "tuning without curves": replace(tuning, curves=()),
        "evaluation": replace(evaluation([1.0, 3.0, 2.0]), evaluator=f"{text}loss"),
        "verification": made_verification(text=text),
        "spectra": made_spectra(text=text),
        "interventions": made_interventions(text=text),
        "defence": made_defence(text=text),
        "attacked": made_attacked(text=text),
        "screening": made_screening(text=text),
    }


@pytest.mark.parametrize("name", list(results()))
@pytest.mark.parametrize("text", ["", HOSTILE], ids=["plain", "hostile"])
def test_a_picture_that_only_shows(name, text):
    found = results(text)[name]._repr_html_()
    read = Reader(found)
    assert read.open == []
    assert set(read.tags) <= ALLOWED
    assert not any(attribute.startswith("on") for attribute in read.names)
    assert not {"href", "src", "xlink:href", "style"} & read.names
    assert "url(" not in found
    assert "@import" not in found
    found.encode("utf-8")
    if text and name not in ("scores",):
        assert "<img src=x onerror=alert(1)>" in "".join(read.texts)
    assert ("<svg" in found) == (name != "tuning without curves")
    assert len(found) < 60_000


def test_what_it_says():
    shown = {name: "".join(Reader(r._repr_html_()).texts) for name, r in results().items()}
    assert "train blocks 1, 3 of m (w)" in shown["train"]
    assert "ranks 8, 4" in shown["lora"]
    assert "freeze: blocks 1, 3" in shown["freeze"]
    assert "train: blocks 0, 2, 4, 5" in shown["freeze"]
    assert "worse" in shown["comparison"]
    assert "test loss 3.167 to 1.583" in shown["tuning"]
    assert "validation" in shown["tuning"]
    assert "loss 2 ± 0.58, 3 examples" in shown["evaluation"]
    assert "! a warning" in shown["scores"]
    assert "dynamics: +0.6" in shown["verification"]
    assert "dynamics top:2" in shown["selection"]


def circles(found):
    """Where every point of a chart stands."""
    import re

    return [tuple(map(float, p)) for p in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', found)]


def test_the_curve_of_an_evaluation_rises_and_leaves_out_what_is_undefined():
    values = [5.0, math.nan, 1.0, 3.0]
    points = circles(evaluation(values)._repr_html_())
    assert len(points) == 3
    assert points == sorted(points)  # to the right
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True)  # upwards
    # From 1 to 5 with 3 in the middle.
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.2)


@pytest.mark.parametrize("values", [[math.nan], [2.0], [0.0, 0.0], [1e100, -1e100], [0.0] * 3000])
def test_odd_evaluations_have_a_picture(values):
    odd = Evaluation(
        "loss", False, tuple(map(str, range(len(values)))), np.array(values),
        np.ones(len(values)), (None,) * len(values), np.full(len(values), 0.25),
    )  # fmt: skip
    found = odd._repr_html_()
    assert "by chance 0.25" in found
    assert len(found) < 30_000
    assert Reader(found).open == []


def test_scores_without_any_value_have_a_picture():
    empty = made_scores("dynamics", "dynamics", "builtin", 4, values=[math.nan] * 4)
    assert Reader(empty._repr_html_()).open == []
    assert "<circle" not in empty._repr_html_()


def test_a_comparison_of_one_arm_and_a_verification_without_correlations():
    assert Reader(made_comparison(made_arm("alone"))._repr_html_()).open == []
    made = made_verification()
    none = tuple(replace(found, rho=None, low=None, high=None) for found in made.predictions)
    assert Reader(replace(made, predictions=none)._repr_html_()).open == []


def test_interventions_without_a_value_have_no_picture():
    assert "<svg" not in replace(made_interventions(), found=())._repr_html_()

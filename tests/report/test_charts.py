"""Charts of numbers as they come: gaps, ties, one block, many blocks."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.charts.bars import choice_rows, share_bars
from cruxlm.charts.curve import curve_chart
from cruxlm.charts.heatmap import heatmap
from cruxlm.charts.svg import WIDTH, index_ticks, nice_ticks

NAN = math.nan
CURVES = {
    "plain": [0.1, 0.5, 0.3, 0.2],
    "gaps": [NAN, 0.1, 0.2, NAN, 0.3, NAN],
    "equal": [0.25] * 5,
    "zeros": [0.0] * 5,
    "one": [0.7],
    "none": [NAN] * 4,
    "tiny": [1e-13, 2e-13, 3e-13],
    "huge": [1e12, -1e12, 3e11],
    "close": [1.0, 1.0 + 1e-12, 1.0 - 1e-12],
    "infinite": [0.1, math.inf, -math.inf, 0.2],
    "many": np.linspace(0, 1, 126),
}
NUMBERS = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def drawn(chart):
    """The elements of a chart, each checked to lie on it."""
    root = ElementTree.fromstring(chart)
    _, _, width, height = map(float, root.get("viewBox").split())
    assert width == WIDTH
    for element in root.iter():
        for name, value in element.attrib.items():
            if name in ("points", "d", "x", "y", "cx", "cy", "r", "width", "height"):
                assert "nan" not in value
                assert "inf" not in value
        if element.tag == "circle":
            assert 0 <= float(element.get("cx")) <= width
            assert 0 <= float(element.get("cy")) <= height
        if element.tag == "polygon":
            for point in element.get("points").split():
                assert 0 <= float(point.split(",")[1]) <= height
    return root


def count(root, tag):
    return len(list(root.iter(tag)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("halfwidth", [None, 0.05, NAN, math.inf])
@pytest.mark.parametrize("name", CURVES)
def test_every_curve_is_drawn_with_a_dot_for_each_value(name, halfwidth):
    values = np.array(CURVES[name])
    errors = None if halfwidth is None else np.full(len(values), halfwidth)
    root = drawn(curve_chart(values, errors, label="a score", selected=[0], incomplete=[0]))
    defined = np.isfinite(values)
    runs = int((np.diff(np.concatenate([[0], defined])) == 1).sum())
    assert count(root, "circle") == defined.sum()
    assert count(root, "polyline") == runs
    assert count(root, "polygon") == (0 if halfwidth is None else runs)
    assert root.get("aria-label") == "a score"


def test_a_curve_says_its_numbers():
    chart = curve_chart(np.array([0.25, NAN]), np.array([0.01, NAN]), label="x")
    assert [e.text for e in drawn(chart).iter("title")] == ["block 0: 0.25 ± 0.01"]


def bars(values, _halfwidth, label):
    return share_bars({label: values}, label=label)


@pytest.mark.parametrize("draw", [curve_chart, bars])
def test_a_label_cannot_leave_its_place(draw):
    label = "\"'><script>&<!--\x1b\u202e"
    root = drawn(draw(np.array([0.1, 0.2]), None, label=label))
    assert root.get("aria-label") == label.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert {element.tag for element in root.iter()} <= {
        "svg", "path", "text", "rect", "circle", "polyline", "title",
    }  # fmt: skip


def test_higher_scores_stand_higher():
    circles = list(drawn(curve_chart(np.array([0.1, 0.3, 0.2]), None, label="x")).iter("circle"))
    first, second, third = (float(circle.get("cy")) for circle in circles)
    assert second < third < first


@given(
    st.floats(-1e6, 1e6, allow_nan=False), st.floats(1e-9, 1e6, allow_nan=False), st.integers(2, 8)
)
def test_ticks_are_round_distinct_and_inside(low, span, most):
    high = low + span
    if not high > low or span < 1e-9 * abs(low):
        return
    ticks = nice_ticks(low, high, most)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= most + 1
    slack = 1e-6 * span
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(ticks) >= most // 3


@pytest.mark.parametrize("blocks", [1, 2, 12, 13, 36, 80, 126, 500])
def test_axes_are_labelled_from_block_0_on(blocks):
    ticks = index_ticks(blocks)
    assert ticks[0] == 0
    assert ticks[-1] < blocks
    assert len(ticks) <= 12
    assert len(set(np.diff(ticks))) <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(5),
        np.ones((4, 4)),
        np.full((3, 3), NAN),
        np.array([[1.0]]),
        np.where(np.eye(6) > 0, NAN, 0.3),
        np.where(np.eye(6) > 0, NAN, np.arange(36).reshape(6, 6) / 36),
        np.where(np.eye(6) > 0, math.inf, 0.3),
    ],
)
def test_a_heat_map_has_a_cell_for_every_value_and_none_for_a_gap(matrix):
    root = drawn(heatmap(matrix, label="similarity", selected=[0]))
    cells = sum(path.get("d").count("M") for path in root.iter("path"))
    assert cells == np.isfinite(matrix).sum()


def test_a_heat_map_of_126_blocks_is_small():
    matrix = np.random.default_rng(0).uniform(size=(126, 126))
    assert len(heatmap(matrix, label="similarity")) < 300_000


def test_equal_values_have_one_colour_and_different_ones_two():
    def colours(matrix):
        root = drawn(heatmap(np.array(matrix), label="x"))
        return {path.get("stroke") for path in root.iter("path")}

    assert len(colours([[0.5, 0.5], [0.5, 0.5]])) == 1
    assert len(colours([[0.5, 0.6], [0.5, 0.6]])) == 2


def test_bars_of_shares():
    shares = {"one": np.array([0.0, 0.5, 1.0, NAN]), "two": np.array([1.0, NAN, 0.2, 0.1])}
    root = drawn(share_bars(shares, label="shares", selected=[1]))
    bars = [element for element in root.iter("rect") if "bar" in element.get("class")]
    assert len(bars) == 6
    heights = [float(bar.get("height")) for bar in bars if "b1" in bar.get("class")]
    assert heights[0] == 0
    assert heights[2] == pytest.approx(2 * heights[1], abs=0.2)
    assert [bar.get("class") for bar in bars if "chosen" in bar.get("class")] == ["bar chosen b1"]


def test_rows_of_choices():
    root = drawn(choice_rows([("a", [0, 2]), ("b" * 40, [])], 3, label="choices"))
    assert count(root, "rect") == 2
    assert f"{'b' * 16}…" in "".join(root.itertext())
    assert "b" * 40 in "".join(root.itertext())

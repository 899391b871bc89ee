"""Charts of numbers as they come: gaps, ties, one block, many blocks."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.charts.bars import choice_rows, share_bars
from cruxlm.charts.curve import Control, curve_chart
from cruxlm.charts.heatmap import heatmap
from cruxlm.charts.intervals import interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.charts.notebook import notebook
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


def said(root):
    return [element.find("title").text for element in root.iter() if element.get("class") == "hit"]


def test_a_curve_says_its_numbers():
    chart = curve_chart(np.array([0.25, NAN]), np.array([0.01, NAN]), label="x")
    assert said(drawn(chart)) == ["block 0: 0.25 ± 0.01"]


def test_a_control_stands_under_the_curve_and_both_are_said():
    control = Control("untrained", np.array([0.5, NAN, 0.25]), None, [2], [0])
    chart = curve_chart(np.array([0.1, 0.2, NAN]), None, label="x", selected=[1], control=control)
    root = drawn(chart)
    assert said(root) == [
        "block 0: 0.1; untrained 0.5, fewer neighbours",
        "block 1: 0.2, selected",
        "block 2: untrained 0.25, selected",
    ]
    height = float(root.get("viewBox").split()[3])
    assert height > float(
        drawn(curve_chart(np.array([0.1]), None, label="x")).get("viewBox").split()[3]
    )
    above, below = (
        [float(c.get("cy")) for c in root.iter("circle")][part] for part in (slice(2), slice(2, 4))
    )
    assert max(above) < min(below)


def test_columns_cover_the_chart_and_nothing_twice():
    hits = [e for e in drawn(curve_chart(np.arange(5.0), None, label="x")).iter("rect")
            if e.get("class") == "hit"]  # fmt: skip
    edges = [(float(e.get("x")), float(e.get("x")) + float(e.get("width"))) for e in hits]
    assert all(abs(a[1] - b[0]) < 0.2 for a, b in pairwise(edges))


def test_lines_say_every_curve_at_a_step():
    curves = {"a": [(1, 3.0), (2, 1.0)], "b": [(2, 5.0)]}
    assert said(drawn(line_chart(curves, label="x", across="step"))) == [
        "step 1: a 3", "step 2: a 1, b 5",
    ]  # fmt: skip


def test_intervals_and_choices_say_their_rows():
    rows = [("a", 0.5, (0.4, 0.6)), ("b", -0.25, None)]
    assert said(drawn(interval_chart(rows, label="x", across="y"))) == [
        "a: +0.5 (+0.4 to +0.6)", "b: -0.25",
    ]  # fmt: skip
    chosen = choice_rows([("a", [2, 0]), ("b", [])], 3, label="x")
    assert said(drawn(chosen)) == ["a: blocks 0, 2", "b: no blocks"]
    shares = {"one": np.array([0.5, NAN]), "two": np.array([1.0, 0.25])}
    assert said(drawn(share_bars(shares, label="x"))) == [
        "block 0: one 50.0%, two 100.0%", "block 1: two 25.0%",
    ]  # fmt: skip


def test_what_does_not_fit_is_counted():
    many = 10_000
    curves = {f"c{n}": [(0.0, n), (1.0, n)] for n in range(many)}
    lines = drawn(line_chart(curves, label="x", across="step", first=f"c{many - 1}"))
    assert count(lines, "polyline") == 12
    assert f"c{many - 1}" in said(lines)[0]  # the one that stands out is always drawn
    for chart, more in [
        (lines, f"{many - 12:,}"),
        (drawn(interval_chart([("a", 1.0, None)] * many, label="x", across="y")), f"{many - 30:,}"),
        (drawn(choice_rows([("a", [0])] * many, 3, label="x")), f"{many - 40:,}"),
    ]:
        assert f"and {more} more" in "".join(chart.itertext())


def test_a_heat_map_holds_its_values():
    matrix = np.array([[1.0, 0.1234], [-0.5, NAN]])
    root = drawn(heatmap(matrix, label="x"))
    assert root.get("data-values") == "1,.123;-0.5,"
    left, top, size = map(float, root.get("data-box").split())
    assert left + size < WIDTH
    assert top >= 0


@given(st.floats(-2000, 2000))
def test_the_values_of_a_heat_map_are_right_to_three_decimals(value):
    held = drawn(heatmap(np.array([[value]]), label="x")).get("data-values")
    assert float(held) == pytest.approx(value, abs=0.00051)


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
    found = {
        (int(row), int(start) + place)
        for path in root.iter("path")
        for start, row, length in re.findall(r"M(\d+) (\d+)h(\d+)", path.get("d"))
        for place in range(int(length))
    }
    assert found == set(map(tuple, np.argwhere(np.isfinite(matrix)).tolist()))


def test_a_heat_map_of_126_blocks_is_small():
    matrix = np.random.default_rng(0).uniform(size=(126, 126))
    assert len(heatmap(matrix, label="similarity")) < 250_000  # noise: no two neighbours alike


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


@pytest.mark.parametrize("chart", ["", "<svg></svg>"])
def test_a_notebook_picture_holds_its_text_as_text(chart):
    html = notebook("found <script>alert(1)</script> \u202e\nand more", chart)
    shown = "found &lt;script&gt;alert(1)&lt;/script&gt; \\u202e\nand more"
    assert f'<div class="crux"><p>{shown}</p>{chart}</div>' in html
    assert html.startswith("<style>")
    assert (".chart{" in html) == bool(chart)


def test_rows_of_choices():
    root = drawn(choice_rows([("a", [0, 2]), ("b" * 40, [])], 3, label="choices"))
    assert [e.get("class") for e in root.iter("rect")].count("chosen") == 2
    assert f"{'b' * 14}…" in "".join(root.itertext())
    assert "b" * 40 in "".join(root.itertext())

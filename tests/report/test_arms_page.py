import re
from itertools import pairwise

import pytest

from cruxlm.charts.intervals import interval_chart
from cruxlm.charts.lines import line_chart, spread_out
from cruxlm.report.arms_page import arms_page
from cruxlm.results.comparison import Gap
from report.test_scan_page import ATTRIBUTES, HOSTILE, TAGS, Page
from results.made_comparisons import made_arm, made_comparison


def test_the_page_says_what_a_reader_needs():
    text = " ".join(Page(arms_page(made_comparison())).texts)
    for said in ("random is worse", "two seeds: take care", "+0.250 ± 0.040*", "before", "0.0003",
                 "How to doubt this", "3, 7", "222k", "20 steps"):  # fmt: skip
        assert said in text


def test_no_text_of_a_user_becomes_markup():
    hostile = made_comparison(
        made_arm(HOSTILE, blocks=(1, 2)), made_arm(f"{HOSTILE}2", gap=Gap(0.5, 0.1, None)),
        model=HOSTILE, finding=HOSTILE, warnings=(HOSTILE,), provenance={HOSTILE: HOSTILE},
    )  # fmt: skip
    html = arms_page(hostile)
    page = Page(html)
    plain = Page(arms_page(made_comparison(made_arm("a"), made_arm("b", gap=Gap(0.5, 0.1, None)))))
    assert {tag for tag, _ in page.structure} <= TAGS | {f"/{tag}" for tag in TAGS}
    assert {name for _, names in page.structure for name in names} <= ATTRIBUTES
    assert {tag for tag, _ in page.structure} == {tag for tag, _ in plain.structure}
    assert not [link for link in page.links if "evil.test" in link]
    assert len(html) < 1_000_000


def test_an_interval_that_holds_zero_does_not_stand_out():
    chart = interval_chart(
        [("a", 0.5, (0.4, 0.6)), ("b", 0.05, (-0.05, 0.15)), ("c", 0.3, None)],
        label="l",
        across="x",
    )
    dots = re.findall(r'class="(dot[^"]*)" cx="([\d.]+)"', chart)
    assert [kind for kind, _ in dots] == ["dot chosen", "dot", "dot"]
    places = [float(x) for _, x in dots]
    assert places[0] > places[2] > places[1]
    assert chart.count('class="band"') == 2


def test_lines_go_down_when_values_do():
    chart = line_chart({"a": [(1, 3.0), (2, 1.0)], "b": []}, label="l", across="step", first="a")
    points = re.search(r'polyline class="curve" points="([^"]*)"', chart)[1].split()
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in points)
    assert x1 > x0
    assert y1 > y0  # SVG counts down
    assert chart.count("<polyline") == 1  # b has no points
    assert line_chart({"b": []}, label="l", across="step") == ""


@pytest.mark.parametrize("heights", [{}, {"a": 1.0}, {"a": 5.0, "b": 5.0, "c": 6.0, "d": 90.0}])
def test_names_do_not_overlap_and_keep_their_order(heights):
    moved = spread_out(heights, 13, 100)
    assert moved.keys() == heights.keys()
    assert all(b - a >= 13 for a, b in pairwise(sorted(moved.values())))
    assert moved.get("d", 90.0) == 90.0  # one that is far from the others stays
    assert all(moved[name] >= heights[name] for name in heights)


def test_names_at_the_floor_are_moved_up():
    assert spread_out({"a": 99.0, "b": 99.5}, 13, 100) == {"a": 87.0, "b": 100.0}

"""Selection: every rule by hand, ties, ends, refusal to be empty, what stability means."""

import numpy as np
import pytest

from cruxlm.criteria.select import default_rule, parse_rule, select, select_again
from cruxlm.results.scores import Scores
from cruxlm.runtime.errors import OptionError


def scores(values, incomplete=(), halves=None):
    values = np.array(values, dtype=float)
    return Scores(
        label="dynamics", criterion="dynamics", preset="default", probe="p", unit="block",
        names=tuple(f"layers.{i}" for i in range(len(values))), values=values,
        stderr=np.full(len(values), 0.01), halves=halves, evidence={"incomplete": list(incomplete)},
    )  # fmt: skip


VALUES = [9.0, 1.0, 3.0, 5.0, 4.0, 0.0, 7.0, 6.0]


@pytest.mark.parametrize(
    ("rule", "blocks"),
    [
        ("top:3", (0, 6, 7)),
        ("3", (0, 6, 7)),
        ("window:3", (2, 3, 4)),
        ("window:2", (6, 7)),
        ("peaks", (0, 3, 6)),
        ("peaks:2", (0, 6)),
        ("share:25%", (0, 6)),
        ("share:30%", (0, 6)),
        ("share:100%", tuple(range(8))),
    ],
)
def test_rules(rule, blocks):
    values = [9.0, 1.0, 3.0, 5.0, 6.0, 0.0, 7.0, 6.0] if rule == "window:3" else VALUES
    assert select(scores(values), rule, ends="keep").blocks == blocks


def test_share_counts_weights_not_blocks():
    chosen = select(scores(VALUES), "share:50%", parameters=[5, 1, 1, 1, 1, 1, 3, 9])
    assert chosen.blocks == (0, 6)  # 5 + 3 of 22; block 7 would make it 17


def test_ends_are_skipped_or_kept():
    curve = scores(VALUES, incomplete=(0, 7))
    skipped, kept = select(curve, "top:2"), select(curve, "top:2", ends="keep")
    assert skipped.blocks == (3, 6)
    assert skipped.admissible == (1, 2, 3, 4, 5, 6)
    assert kept.blocks == (0, 6)
    assert "fewer neighbours" in kept.reasons[0]


def test_ties_go_to_the_lower_block_and_are_said():
    chosen = select(scores([1, 5, 5, 5, 0]), "top:2")
    assert chosen.blocks == (1, 2)
    assert chosen.ties == (3,)


def test_undefined_blocks_are_never_chosen():
    assert select(scores([np.nan, 1, 2, np.nan]), "top:2").blocks == (1, 2)
    with pytest.raises(OptionError, match="more than the 2 blocks"):
        select(scores([np.nan, 1, 2, np.nan]), "top:3")
    with pytest.raises(OptionError, match="nothing to select"):
        select(scores([np.nan] * 3), "top:1")
    with pytest.raises(OptionError, match="selects no block"):
        select(scores([1, np.nan, 2, np.nan]), "window:2")


def test_when_every_window_is_cut_all_blocks_are_admitted():
    chosen = select(scores([1, 2], incomplete=(0, 1)), "top:1")
    assert chosen.blocks == (1,)
    assert chosen.ends == "keep"


def test_select_again_is_none_where_the_rule_finds_nothing():
    chosen = select(scores(VALUES, incomplete=(0, 7)), "top:2")
    assert select_again(scores(VALUES), chosen, ends="keep").blocks == (0, 6)
    assert select_again(scores([1, np.nan, np.nan]), chosen) is None


def test_a_share_too_small_for_one_block_is_refused():
    with pytest.raises(OptionError, match="selects no block"):
        select(scores(VALUES), "share:1%")


@pytest.mark.parametrize(
    "rule", ["best:3", "top", "top:0", "top:x", "share:5", "share:0%", "share:101%"]
)
def test_bad_rules(rule):
    with pytest.raises(OptionError):
        parse_rule(rule)


def test_a_steady_choice_and_a_coin_flip():
    rng = np.random.default_rng(0)
    values = np.array([0.0, 5.0, 5.001, 10.0])
    halves = values + 0.5 * rng.standard_normal((400, 4))
    frequency = select(scores(values, halves=halves), "top:2").frequency
    assert frequency[3] == 1.0
    assert frequency[0] == 0.0
    assert 0.4 < frequency[1] < 0.6
    assert sum(frequency) == pytest.approx(2.0)


def test_the_default_is_a_quarter_and_at_most_five():
    assert [default_rule(n) for n in (5, 8, 16, 24, 80)] == [
        "top:2",
        "top:2",
        "top:4",
        "top:5",
        "top:5",
    ]

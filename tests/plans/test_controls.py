"""The controls of a plan: as many blocks, chosen without looking, and said where there is none."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cruxlm.plans.controls import controls
from cruxlm.plans.grammar import Chosen, drawn
from cruxlm.plans.make import make_plan
from cruxlm.results.model_ref import ModelRef

COUNT = 12
SIZES = (100,) * COUNT
MODEL = ModelRef("m", {"weights": "ab"}, tuple(f"h.{b}" for b in range(COUNT)), SIZES)
INNER = range(1, 11)


def plan_of(blocks, action="train", **options):
    chosen = Chosen(tuple(blocks), ("",) * len(blocks), "dynamics top:3", tuple(INNER))
    return make_plan(action, chosen, MODEL, **options)


def made(blocks, action="train", admissible=INNER, parameters=SIZES, **options):
    return controls(plan_of(blocks, action), admissible, parameters=parameters, **options)


def test_all_of_them_by_hand():
    values = [float(v) for v in (0, 5, 1, 9, 2, 3, 4, 8, 7, 6, 2.5, 0)]
    found = made((3, 7, 8), values=values, seed=5)
    sets = {name: plan.blocks for name, plan in found.plans.items()}
    assert [name for name in sets if name.startswith("random")] == [
        "random@5", "random@6", "random@7",
    ]  # fmt: skip
    assert sets["random@6"] == drawn(3, 6, COUNT, INNER)
    assert sets["first"] == (0, 1, 2)
    assert sets["last"] == (9, 10, 11)
    assert sets["middle"] == (4, 5, 6)
    assert sets["with-block-0"] == (0, 7, 8)
    assert sets["lowest"] == (2, 4, 10)  # 0 and 11 are not admissible
    assert sets["all"] == tuple(range(12))
    assert sets["depth-matched"] in {(2, 6, 9), (4, 6, 9)}
    assert found.left_out == {}
    for name, plan in found.plans.items():
        assert plan.why.startswith(f"{name} control of dynamics top:3")
        assert len(plan.reasons) == len(plan.blocks)
        assert plan.identity == MODEL.identity


def test_block_0_goes_either_way():
    assert made((0, 3, 5)).plans["without-block-0"].blocks == (1, 3, 5)
    assert made((0, 1, 2)).plans["without-block-0"].blocks == (1, 2, 3)
    assert "with-block-0" not in made((0, 3, 5)).plans
    assert made((4,)).plans["with-block-0"].blocks == (0,)
    every = made(range(12))
    assert every.left_out["without-block-0"] == "every block is in the plan"


def test_what_cannot_be_is_said():
    found = made((1, 2, 3, 4, 5, 6))
    assert found.left_out["depth-matched"] == (
        "4 admissible blocks are not in the plan, 6 are needed"
    )
    assert found.left_out["lowest"] == "no criterion chose the blocks"
    assert made((0, 1, 2)).left_out["first"] == "it is the plan itself"
    only = made((3, 7), admissible=(3, 7))
    assert only.left_out["random"] == "no other 2 of the 2 admissible blocks"
    assert not any(name.startswith("random") for name in only.plans)
    assert made(range(12)).left_out["all"] == "it is the plan itself"
    assert made((1, 2), "drop").left_out["all"] == "a model without blocks is none"


def test_random_controls_are_neither_the_plan_nor_alike():
    # Two of three blocks: two sets besides the plan, whatever the seed.
    for seed in range(20):
        found = made((3, 7), admissible=(3, 7, 9), seed=seed, draws=3)
        sets = [p.blocks for name, p in found.plans.items() if name.startswith("random")]
        assert sorted(sets) == [(3, 9), (7, 9)]
    many = made((3, 7, 8), draws=10)
    sets = [p.blocks for name, p in many.plans.items() if name.startswith("random")]
    assert len(set(sets)) == 10
    assert (3, 7, 8) not in sets


@settings(max_examples=30)
@given(st.sets(st.integers(0, 11), min_size=1, max_size=4), st.integers(0, 99))
def test_depth_matching_moves_the_blocks_as_little_as_can_be(blocks, seed):
    chosen = sorted(blocks)
    found = made(chosen, admissible=range(12), seed=seed).plans["depth-matched"].blocks
    assert not set(found) & blocks
    assert len(set(found)) == len(chosen)

    def moved(others):
        """The least that the blocks move in all, whichever goes where."""
        return sum(abs(a - b) for a, b in zip(chosen, sorted(others), strict=True))

    rest = [block for block in range(12) if block not in blocks]
    every = itertools.combinations(rest, len(chosen))
    assert moved(found) == min(moved(others) for others in every)


def test_ties_in_depth_go_either_way_by_seed():
    found = {made((5,), seed=seed).plans["depth-matched"].blocks for seed in range(30)}
    assert found == {(4,), (6,)}
    again = {made((5,), seed=4).plans["depth-matched"].blocks for _ in range(5)}
    assert len(again) == 1


def test_sizes_that_differ_are_said():
    sizes = [100] * 11 + [150]
    found = made((3, 7), parameters=sizes)
    assert found.plans["last"].why.endswith("; its blocks hold 25.0% more parameters")
    assert found.plans["first"].why == "first control of dynamics top:3"
    big = made((3, 11), parameters=sizes)
    assert big.plans["first"].why.endswith("; its blocks hold 20.0% fewer parameters")


def test_lora_controls_have_the_same_ranks():
    values = tuple(np.linspace(0, 1, 12).tolist())
    chosen = Chosen((3, 7, 8), ("",) * 3, "dynamics top:3", tuple(INNER), values)
    plan = make_plan("lora", chosen, MODEL, r=8, alpha=4.0, ranks="scores")
    found = controls(plan, INNER, parameters=SIZES).plans
    for name in ("first", "last", "middle", "random@0", "depth-matched", "with-block-0"):
        assert (found[name].ranks, found[name].alphas) == (plan.ranks, plan.alphas)
    # All blocks at the same total rank and the same scale.
    every = found["all"]
    assert every.blocks == tuple(range(12))
    assert every.ranks == (2,) * 12
    assert every.alphas == (1.0,) * 12
    small = controls(plan_of((3, 7), "lora", r=2), INNER, parameters=SIZES).plans["all"]
    assert small.ranks == (1,) * 12
    assert small.why.endswith("; total rank 12, not 4: 1 is the least")


def test_controls_of_freezing():
    found = made((3, 7, 8), "freeze")
    assert found.plans["first"].action == "freeze"
    assert found.plans["first"].trained == tuple(range(3, 12))
    assert found.plans["all"].action == "train"  # nothing frozen
    assert found.plans["all"].trained == tuple(range(12))


def test_parts_stay():
    plan = plan_of((3, 7), parts=("norm",))
    found = controls(plan, INNER, parameters=SIZES).plans.values()
    assert all(control.parts == ("norm",) for control in found)


@pytest.mark.parametrize("action", ["train", "freeze", "lora", "drop"])
def test_every_control_is_a_plan_of_as_many_blocks(action, tmp_path):
    found = made((2, 5, 6, 9), action, values=list(range(12))).plans
    for name, plan in found.items():
        assert len(plan.blocks) == (12 if name == "all" else 4)
        assert type(plan).load(plan.save(tmp_path / "p.json")) == plan

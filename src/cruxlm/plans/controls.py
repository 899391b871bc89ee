"""The controls of a plan, written out as plans of the same size.

What a selection is worth is what it does beyond sets of as many blocks that were chosen without
looking: at random from the same range, at the same depths, at the ends, in the middle, and those
with the lowest scores.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from cruxlm.plans.budget import spread_ranks
from cruxlm.plans.grammar import by_score, drawn, first, last, middle
from cruxlm.results.plan import Plan

DRAWS = 3
"""Random controls, by default."""


@dataclass(frozen=True)
class Controls:
    """The controls that a plan has, and why it lacks the others."""

    plans: Mapping[str, Plan]
    """By name: ``random@SEED`` (several), ``depth-matched``, ``first``, ``last``, ``middle``,
    ``with-block-0`` or ``without-block-0``, ``lowest``, ``all``."""
    left_out: Mapping[str, str]
    """Why a control is not there, by name."""


def controls(
    plan: Plan,
    admissible: Collection[int],
    *,
    parameters: Sequence[int],
    values: Sequence[float] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Controls:
    """Write out the controls of a plan.

    Args:
        plan: The plan.
        admissible: The blocks that it could have chosen (``Chosen.admissible``).
        parameters: Number of weights of each block of the model, to say where sizes differ.
        values: Score of each block of the model, where a criterion chose.
        seed: Of the first random control, and of what decides between equals.
        draws: How many random controls.

    Returns:
        Plans with as many blocks and the same ranks and parts, but for ``all``: every block, for
        lora at the same total rank where that is at least 1 for each. A control that would be the
        plan itself is left out; a random one is drawn again with the next seed. Two controls may
        have the same blocks.
    """
    count, k = len(plan.names), len(plan.blocks)
    among = tuple(sorted(admissible))
    sets: dict[str, tuple[int, ...] | str] = {}
    sets["depth-matched"] = _depth_matched(plan.blocks, among, seed)
    sets["first"], sets["last"] = first(k, count), last(k, count)
    sets["middle"] = middle(k, count)
    sets |= _block_0(plan.blocks, count)
    if values is None:
        sets["lowest"] = "no criterion chose the blocks"
    else:
        sets["lowest"] = tuple(sorted(by_score([-value for value in values], among)[:k]))
    sets |= _random(plan, among, seed, draws)

    plans: dict[str, Plan] = {}
    left_out: dict[str, str] = {}
    for name, blocks in sets.items():
        if isinstance(blocks, str):
            left_out[name] = blocks
        elif blocks == plan.blocks:
            left_out[name] = "it is the plan itself"
        else:
            plans[name] = _changed(plan, name, blocks, parameters)
    every = _all(plan, parameters)
    if isinstance(every, Plan):
        plans["all"] = every
    else:
        left_out["all"] = every
    return Controls(plans, left_out)


def _changed(
    plan: Plan, name: str, blocks: tuple[int, ...], parameters: Sequence[int], **changes: Any
) -> Plan:
    """The plan with other blocks; what their sizes differ by is said."""
    own, other = (sum(parameters[block] for block in held) for held in (plan.blocks, blocks))
    why = f"{name} control of {plan.why}"
    if own != other and plan.action != "lora":
        kind = "more" if other > own else "fewer"
        why += f"; its blocks hold {abs(other / own - 1):.1%} {kind} parameters"
    reasons = (f"{name} control",) * len(blocks)
    return replace(plan, blocks=blocks, reasons=reasons, why=why, **changes)


def _random(
    plan: Plan, among: Sequence[int], seed: int, draws: int
) -> dict[str, tuple[int, ...] | str]:
    """Draws from the same range, none of them the plan and no two alike while there are others."""
    k, count = len(plan.blocks), len(plan.names)
    if len(among) < k or set(among) == set(plan.blocks):
        return {"random": f"no other {k} of the {len(among)} admissible blocks"}
    found: dict[str, tuple[int, ...] | str] = {}
    seen = {plan.blocks}
    # All sets may have been drawn before there are as many as were asked for.
    for now in range(seed, seed + 100 * draws):
        blocks = drawn(k, now, count, among)
        if blocks not in seen:
            seen.add(blocks)
            found[f"random@{now}"] = blocks
        if len(found) == draws:
            break
    return found


def _depth_matched(blocks: Sequence[int], among: Sequence[int], seed: int) -> tuple[int, ...] | str:
    """For each block another one near it, so that all together are moved as little as possible."""
    others = [block for block in among if block not in blocks]
    if len(others) < len(blocks):
        return f"{len(others)} admissible blocks are not in the plan, {len(blocks)} are needed"
    moved = np.abs(np.subtract.outer(np.array(blocks), np.array(others)))
    # Ties are decided by whole numbers too small to change which sum is least.
    draw = random.Random(seed)
    ties = np.array([[int(draw.random() * 1000) for _ in others] for _ in blocks])
    _, columns = linear_sum_assignment(moved * 1000 * (len(blocks) + 1) + ties)
    return tuple(sorted(others[column] for column in columns))


def _block_0(blocks: tuple[int, ...], count: int) -> dict[str, tuple[int, ...] | str]:
    """The set with block 0 in the place of its lowest block, or the other way round."""
    if blocks[0] != 0:
        return {"with-block-0": (0, *blocks[1:])}
    others = [block for block in range(count) if block not in blocks]
    if not others:
        return {"without-block-0": "every block is in the plan"}
    return {"without-block-0": tuple(sorted((*blocks[1:], others[0])))}


def _all(plan: Plan, parameters: Sequence[int]) -> Plan | str:
    """Every block: trained (also where the plan is to freeze some), or adapted."""
    every = tuple(range(len(plan.names)))
    if plan.action == "drop":
        return "a model without blocks is none"
    if every == plan.blocks and plan.action != "freeze":
        return "it is the plan itself"
    if plan.action != "lora":
        return _changed(plan, "all", every, parameters, action="train")
    assert plan.ranks is not None  # a plan to lora has both
    assert plan.alphas is not None
    total = sum(plan.ranks)
    ranks = spread_ranks(max(total, len(every)), (1.0,) * len(every))
    ratio = plan.alphas[0] / plan.ranks[0]
    alphas = tuple(ratio * rank for rank in ranks)
    made = _changed(plan, "all", every, parameters, ranks=ranks, alphas=alphas)
    if sum(ranks) == total:
        return made
    return replace(made, why=f"{made.why}; total rank {sum(ranks)}, not {total}: 1 is the least")

"""Section 5 of the paper: does training the critical blocks alone adapt a model faster?"""

from collections.abc import Mapping, Sequence
from typing import Any

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.studies.page import Section
from cruxlm.studies.spectral.claim import (
    Cells,
    Claim,
    Interval,
    Verdict,
    advice,
    interval,
    mean,
    number,
    of,
    over_bases,
)

Trained = Mapping[str, Any]
"""A cell with the arms of one family and base."""
CRITICAL = "critical"
NON_CRITICAL = "non-critical"
COMPANY = ("depth-matched", "random")
"""Arms of as many blocks from the same range, chosen without looking."""
MANY = 9
"""Blocks from which an arm's are not listed."""


def claim(cells: Cells) -> Claim:
    """The claim, from the cells ``adapt-*``."""
    held = of(cells, "adapt-")
    over = {name: gained(held, CRITICAL, name) for name in (NON_CRITICAL, *COMPANY)}
    reached = verdict(over[NON_CRITICAL], {name: over[name] for name in COMPANY})
    said = ", ".join(f"{100 * one.mean:+.1f} over {name}" for name, one in over.items())
    return Claim(
        name="Adaptation",
        published="Training only the critical blocks lowers the loss faster than training as many "
        "others: 1.133 against 1.280 after 50 steps, all blocks 1.064 (section 5, Dolly, one "
        "training each).",
        verdict=reached,
        found="Points of what full training gains that critical blocks gain more, each arm at its "
        f"own best learning rate: {said}.",
        change="Critical blocks that clearly gain more than random draws from the same range on "
        "tasks of yours: crux tune --against random,depth-matched,first.",
        therefore=advice(
            reached,
            "Where only a few blocks can be trained, train those that the scan selects.",
            "Compare a selection with random and first blocks before you rely on it, and with "
            "LoRA on all blocks at as many weights.",
        ),
        cells="adapt-*",
        sections=[_arms(held), _families(held), _curves(held)],
    )


def verdict(over_non_critical: Interval, over_company: Mapping[str, Interval]) -> Verdict:
    """Better than the least critical blocks, and than blocks chosen without looking."""
    better = [name for name, one in over_company.items() if one.positive]
    if over_non_critical.halfwidth == float("inf"):
        return "cannot be said"
    if not over_non_critical.positive:
        return "does not hold"
    if len(better) == len(over_company):
        return "holds"
    return "holds in part" if better else "not distinguishable from depth"


def gained(cells: Sequence[Trained], arm: str, other: str) -> Interval:
    """How much more of what full training gains an arm gains than another, over bases.

    A base's value is its mean over families.
    """
    return interval(
        over_bases((cell["base"], share(cell, arm) - share(cell, other)) for cell in cells)
    )


def share(cell: Trained, arm: str) -> float:
    """The share of the loss that full training takes away which an arm takes away."""
    before, full = cell["before"]["loss"], cell["arms"]["full"]["loss"]
    return float((before - cell["arms"][arm]["loss"]) / (before - full))


def _arms(cells: Sequence[Trained]) -> Section:
    rows: list[list[str]] = []
    drawn: list[Row] = []
    for name in cells[0]["arms"]:
        held = [cell["arms"][name] for cell in cells]
        rates = sorted({f"{arm['learning_rate']:g}" for arm in held}, key=float)
        over = gained(cells, CRITICAL, name)
        low, high = (100 * end for end in over.ends)
        ends = f"({low:.1f} to {high:.1f})"
        rows.append([
            name,
            f"{held[0]['parameters'] / 1e3:.0f} k",
            f"{mean([share(cell, name) for cell in cells]):.1%}",
            number(mean([arm["loss"] for arm in held])),
            f"{mean([arm['accuracy'] for arm in held]):.0%}",
            "" if name == CRITICAL else f"{100 * over.mean:+.1f} {ends}",
            ", ".join(rates),
        ])  # fmt: skip
        if name != CRITICAL:
            drawn.append((f"over {name}", 100 * over.mean, (low, high)))
    return Section(
        "Adaptation: what five blocks are worth",
        "Means over families and bases: weights that are trained, share of what full training "
        "takes off the test loss, test loss, accuracy, and how many points more the critical "
        "blocks take (95 % interval over bases); the learning rates that were best. Embeddings "
        "and norms stay as they are in every arm. LoRA and LISA train as many weights at a time, "
        "over all blocks.",
        ("arm", "weights", "of full", "loss", "accuracy", "critical over it", "learning rates"),
        rows,
        "adaptation",
        interval_chart(drawn, label="what critical blocks gain more", across="points"),
    )


def _families(cells: Sequence[Trained]) -> Section:
    families = list(dict.fromkeys(cell["family"] for cell in cells))
    rows = []
    for name in cells[0]["arms"]:
        own = [[share(c, name) for c in cells if c["family"] == family] for family in families]
        rows.append([name, *(f"{mean(held):.1%}" for held in own)])
    return Section(
        "Adaptation: family by family",
        "Share of what full training gains, mean over bases.",
        ("arm", *families),
        rows,
    )


def _curves(cells: Sequence[Trained]) -> Section:
    family = cells[0]["family"]
    own = [cell for cell in cells if cell["family"] == family]
    drawn = {}
    for name in own[0]["arms"]:
        curves = [dict(map(tuple, cell["arms"][name]["curve"])) for cell in own]
        steps = sorted(set.intersection(*(set(one) for one in curves)))
        drawn[name] = [(step, mean([one[step] for one in curves]) or 0.0) for step in steps]
    blocks = [[cell["arms"][name]["blocks"] for name in own[0]["arms"]] for cell in own]
    rows = [
        [name, *(_listed(held[place]) for held in blocks)]
        for place, name in enumerate(own[0]["arms"])
    ]
    return Section(
        "Adaptation: loss against steps",
        f"Validation loss on {family}, mean over bases; below, which blocks each arm trained.",
        ("arm", *(f"base-{cell['base']}" for cell in own)),
        rows,
        "steps",
        line_chart(drawn, label="validation loss", across="step", first=CRITICAL),
    )


def _listed(blocks: Sequence[int]) -> str:
    return ", ".join(map(str, blocks)) if len(blocks) < MANY else "all"

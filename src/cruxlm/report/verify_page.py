"""The report of a verification: the curves side by side, every statistic, and what to doubt."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.charts.predictions import DEPTH, interval
from cruxlm.charts.predictions import number as shown
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import Cell, chance, number, share, table, two_places
from cruxlm.results.scores import Scores
from cruxlm.results.verification import VERIFICATION, Prediction, Verification, VerifiedPair

WHERE = f"{VERIFICATION}, beside this page"
KNOWN = (
    "Which blocks are critical depends on the task: another data set may have others.",
    "One training is one draw: pairs with other seeds, and other models before, say more.",
    "Undoing one block at a time does not see blocks that stand in for each other.",
    "Two curves that both follow depth agree without knowing of each other: read p, not rho.",
)
"""What is to be doubted of every verification."""


def verify_page(verification: Verification) -> str:
    """One self-contained HTML file."""
    data = verification.data
    count = len(verification.pairs)
    subtitle = (
        f"{count} pair{'s' if count > 1 else ''} of models; {data['evaluator']} on "
        f"{data['examples']} rows of {data['name']} ({data['rows']})"
    )
    names = list(dict.fromkeys(pair.tuned for pair in verification.pairs))
    title = ", ".join(names[:4]) + (f" and {len(names) - 4:,} more" if len(names) > 4 else "")
    return page(
        f"Crux verification of {title}",
        subtitle,
        verification.finding,
        _sections(verification),
        _facts(verification),
    )


def _facts(verification: Verification) -> list[Fact]:
    predictor, target = verification.primary
    asked = verification.prediction(predictor, target)
    depth = verification.depth[target]
    ends = "" if asked.low is None else f", 95 % interval {interval(asked.low, asked.high)}"
    pairs = len(verification.pairs)
    return [
        Fact("What", asked.verdict, f"{predictor} before, and what undoing costs ({target})"),
        Fact(
            "How sure",
            f"p {chance(asked.p).shown} given depth",
            f"rho {shown(asked.rho)}{ends}, given depth {shown(asked.partial)}; "
            f"{asked.centres} blocks, {pairs} pair{'' if pairs == 1 else 's'}",
        ),
        Fact(
            "Compared with what",
            f"depth explains {share(depth['explained']).shown}",
            f"rho {shown(depth['index'])} with the index, {shown(depth['end_distance'])} with the "
            "distance to the nearer end",
        ),
    ]


def _sections(verification: Verification) -> Iterator[Section]:
    predictor, target = verification.primary
    yield section(
        f"Before: {predictor}",
        "The scores of each model before fine-tuning. Higher is more critical.",
        _curves(
            [(pair.base, pair.predictors[predictor]) for pair in verification.pairs],
            f"{predictor} over blocks",
        ),
        short="Before",
    )
    yield section(
        f"After: what undoing costs, {target}",
        "The blocks before put back into the tuned model, one run of blocks at a time: 0 is no "
        "effect, 1 the whole gain undone.",
        _curves(
            [(pair.tuned, pair.measured[target]) for pair in verification.pairs],
            f"share of the gain undone, {target}",
        ),
        short="After",
    )
    yield _chart(verification)
    yield _depth(verification)
    yield _doubts(verification)
    yield _statistics(verification)
    yield _pairs(verification)
    held = {"data": verification.data, **verification.provenance, "run": verification.run}
    yield provenance_section(verification.finding, held)


def _curves(scores: Sequence[tuple[str, Scores]], label: str) -> str:
    short = [name.rstrip("/").rpartition("/")[2].removeprefix("testbed:") for name, _ in scores]
    lines = {
        # Two folders may be called alike.
        (name if short.count(name) == 1 else f"{name} {number}"): [
            (float(b), v) for b, v in enumerate(held.values.tolist()) if math.isfinite(v)
        ]
        for number, (name, (_, held)) in enumerate(zip(short, scores, strict=True), start=1)
    }
    return line_chart(lines, label=label, across="block", first=next(iter(lines)))


def _chart(verification: Verification) -> Section:
    target = verification.primary[1]
    found = [p for p in verification.predictions if p.target == target and p.rho is not None]
    rows: list[Row] = [(p.predictor, p.rho or 0.0, _interval(p)) for p in found]
    depth: Mapping[str, Any] = verification.depth[target]
    # What it is compared with stands beside the question, however many predictors there are.
    rows[1:1] = [
        (f"depth: {name}", depth[key], None)
        for key, name in DEPTH.items()
        if depth[key] is not None
    ]
    return section(
        "What predicts it?",
        f"Spearman's correlation with the cost of undoing ({target}), mean over pairs, with its "
        "95 % interval over test rows. Filled: the interval leaves out zero. The interval says "
        "nothing about other blocks or other trainings: for that there is p.",
        interval_chart(rows, label="rank correlations", across="Spearman's rho"),
        short="What predicts it?",
    )


def _interval(found: Prediction) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


def _depth(verification: Verification) -> Section:
    rows = [
        (
            target,
            two_places(held["index"]),
            two_places(held["end_distance"]),
            share(held["explained"]),
        )
        for target, held in verification.depth.items()
    ]
    header = ("undone together", "index", "end distance", "explained")
    return section(
        "Is it only depth?",
        "Spearman's correlation of what undoing costs with the block's index and with its distance "
        "to the nearer end, and the share of its ranking that both explain.",
        table(header, rows, numeric=(1, 2, 3), where=WHERE),
        short="Depth",
    )


def _statistics(verification: Verification) -> Section:
    header = ["before", "undone", "rho", "95 %", "tau", "r", "given depth", "p", "p, shared"]
    header += ["shared top", "by chance", "by pair", "verdict"]
    rows = []
    for found in verification.predictions:
        by_pair = ", ".join(shown(rho) for rho in found.by_pair)
        overlap = found.overlap
        rows.append(
            [
                found.predictor, found.target, two_places(found.rho),
                Cell(interval(found.low, found.high), found.low), two_places(found.kendall),
                two_places(found.pearson), two_places(found.partial), chance(found.p),
                chance(found.p_shared),
                Cell(f"{overlap['shared']:.1f} of {overlap['k']}", overlap["shared"]),
                Cell(f"{overlap['expected']:.1f}", overlap["expected"]), by_pair,
                "; ".join((found.verdict, *found.reasons)),
            ]
        )  # fmt: skip
    return section(
        "Every statistic",
        "Spearman, Kendall (tau) and Pearson (r); Spearman given both depth measures; p by "
        "circular shifts of the depth residuals, with independent runs shifted independently, and "
        "with all shifted alike (shared: holds also if the runs share a shape). The first row is "
        "the question; the others are company, and of twenty one is below 0.05 by chance.",
        table(
            header, rows, numeric=range(2, 11), wrapped=(12,), chosen=(0,), where=WHERE,
            label="every statistic",
        ),
        wide=True,
        short="Every statistic",
    )  # fmt: skip


def _pairs(verification: Verification) -> Section:
    name = verification.data["evaluator"]
    rows = [_pair(pair) for pair in verification.pairs]
    header = ("before", "after", f"{name} before", f"{name} after", "gain")
    content = table(header, rows, numeric=(2, 3, 4), where=WHERE)
    return section("The models", "", content, wide=True, short="Models")


def _pair(pair: VerifiedPair) -> list[object]:
    gain = Cell(f"{pair.gain:.4g} ± {pair.halfwidth:.2g}", pair.gain)
    return [pair.base, pair.tuned, number(pair.before), number(pair.after), gain]


def _doubts(verification: Verification) -> Section:
    """Depth, and every other predictor, are what the one that was asked about is compared with."""
    predictor, target = verification.primary
    depth = verification.depth[target]
    controls = [
        Control(
            "depth alone",
            f"explains {share(depth['explained']).shown} of the ranking of what undoing costs",
            f"given depth, {predictor} has rho "
            f"{shown(verification.prediction(predictor, target).partial)}",
        )
    ]
    if verification.provenance["control"] is None:
        controls.append(Control("untrained networks", "", "not run: add --control untrained"))
    controls += [
        Control(
            found.predictor,
            f"rho {shown(found.rho)}, given depth {shown(found.partial)} "
            f"(p {chance(found.p).shown})",
            found.verdict,
        )
        for found in verification.predictions
        if found.target == target and found.predictor != predictor
    ]
    criteria = [
        scores.criterion
        for pair in verification.pairs
        for held in (pair.predictors, pair.measured)
        for scores in held.values()
    ]
    return doubt_section(controls, criteria, [*verification.warnings, *KNOWN])

"""The report of a verification: the curves side by side, every statistic, and what to doubt."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cruxlm.charts.intervals import interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.charts.predictions import DEPTH, interval, number
from cruxlm.charts.svg import text
from cruxlm.report.page import page, section, table
from cruxlm.results.scores import Scores
from cruxlm.results.verification import Prediction, Verification, VerifiedPair


def verify_page(verification: Verification) -> str:
    """One self-contained HTML file."""
    data = verification.data
    count = len(verification.pairs)
    subtitle = (
        f"{count} pair{'s' if count > 1 else ''} of models; {data['evaluator']} on "
        f"{data['examples']} rows of {data['name']} ({data['rows']})"
    )
    names = ", ".join(dict.fromkeys(pair.tuned for pair in verification.pairs))
    return page(
        f"Crux verification of {names}", subtitle, verification.finding, _sections(verification)
    )


def _sections(verification: Verification) -> Iterator[str]:
    predictor, target = verification.primary
    yield section(
        f"Before: {predictor}",
        "The scores of each model before fine-tuning. Higher is more critical.",
        _curves(
            [(pair.base, pair.predictors[predictor]) for pair in verification.pairs],
            f"{predictor} over blocks",
        ),
    )
    yield section(
        f"After: what undoing costs, {target}",
        "The blocks before put back into the tuned model, one run of blocks at a time: 0 is no "
        "effect, 1 the whole gain undone.",
        _curves(
            [(pair.tuned, pair.measured[target]) for pair in verification.pairs],
            f"share of the gain undone, {target}",
        ),
    )
    yield _chart(verification)
    yield _depth(verification)
    yield _statistics(verification)
    yield _pairs(verification)
    yield _doubts(verification)
    yield _provenance(verification)


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


def _chart(verification: Verification) -> str:
    target = verification.primary[1]
    rows = [
        (found.predictor, found.rho, _interval(found))
        for found in verification.predictions
        if found.target == target and found.rho is not None
    ]
    depth: Mapping[str, Any] = verification.depth[target]
    rows += [
        (f"depth: {shown}", depth[name], None)
        for name, shown in DEPTH.items()
        if depth[name] is not None
    ]
    return section(
        "What predicts it?",
        f"Spearman's correlation with the cost of undoing ({target}), mean over pairs, with its "
        "95 % interval over test rows. Filled: the interval leaves out zero. The interval says "
        "nothing about other blocks or other trainings: for that there is p.",
        interval_chart(rows, label="rank correlations", across="Spearman's rho"),
    )


def _interval(found: Prediction) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


def _depth(verification: Verification) -> str:
    rows = [
        (target, number(held["index"]), number(held["end_distance"]), _share(held["explained"]))
        for target, held in verification.depth.items()
    ]
    header = ("undone together", "index", "end distance", "explained")
    return section(
        "Is it only depth?",
        "Spearman's correlation of what undoing costs with the block's index and with its distance "
        "to the nearer end, and the share of its ranking that both explain.",
        table(header, rows, numeric=(1, 2, 3)),
    )


def _statistics(verification: Verification) -> str:
    header = ["before", "undone", "rho", "95 %", "tau", "r", "given depth", "p", "p, shared"]
    header += ["shared top", "by chance", "by pair", "verdict"]
    rows = []
    for found in verification.predictions:
        by_pair = ", ".join(number(rho) for rho in found.by_pair)
        overlap = found.overlap
        rows.append(
            [
                found.predictor, found.target, number(found.rho), interval(found.low, found.high),
                number(found.kendall), number(found.pearson), number(found.partial),
                number(found.p), number(found.p_shared),
                f"{overlap['shared']:.1f} of {overlap['k']}", f"{overlap['expected']:.1f}", by_pair,
                "; ".join((found.verdict, *found.reasons)),
            ]
        )  # fmt: skip
    return section(
        "Every statistic",
        "Spearman, Kendall (tau) and Pearson (r); Spearman given both depth measures; p by "
        "circular shifts of the depth residuals, with independent runs shifted independently, and "
        "with all shifted alike (shared: holds also if the runs share a shape). The first row is "
        "the question; the others are company, and of twenty one is below 0.05 by chance.",
        table(header, rows, numeric=range(2, 11), wrapped=(12,), chosen=(0,)),
        wide=True,
    )


def _pairs(verification: Verification) -> str:
    name = verification.data["evaluator"]
    rows = [_pair(pair) for pair in verification.pairs]
    header = ("before", "after", f"{name} before", f"{name} after", "gain")
    return section("The models", "", table(header, rows, numeric=(2, 3, 4)), wide=True)


def _pair(pair: VerifiedPair) -> list[str]:
    gain = f"{pair.gain:.4g} ± {pair.halfwidth:.2g}"
    return [pair.base, pair.tuned, f"{pair.before:.4g}", f"{pair.after:.4g}", gain]


def _doubts(verification: Verification) -> str:
    known = [
        "Which blocks are critical depends on the task: another data set may have others.",
        "One training is one draw: pairs with other seeds, and other models before, say more.",
        "Undoing one block at a time does not see blocks that stand in for each other.",
        "Two curves that both follow depth agree without knowing of each other: read p, not rho.",
    ]
    if verification.provenance["control"] is None:
        known.append("Not compared with untrained networks: add --control untrained.")
    items = "".join(f"<li>{text(line)}</li>" for line in (*verification.warnings, *known))
    return section("How to doubt this", "", f"<ul>{items}</ul>", wide=True)


def _provenance(verification: Verification) -> str:
    held = {**verification.provenance, "data": verification.data, "run": verification.run}
    rows = []
    for key, value in held.items():
        if isinstance(value, dict):
            rows += [(f"{key} {name}", str(inner)) for name, inner in value.items()]
        else:
            rows.append((key, str(value)))
    return section("Provenance", "", table(("what", "value"), rows, wrapped=(1,)), wide=True)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"

"""What the calibration shows: rates of false alarms, power, coverage of intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cruxlm.charts.lines import line_chart
from cruxlm.studies.calibration_draws import NULLS
from cruxlm.studies.page import Page, Section

BEYOND, TOO_FEW = "predicts beyond depth", "too few blocks to say"
ALLOWED = 0.05
"""Share of null draws in which "beyond depth" may be said."""
COVERED = (0.90, 0.98)
"""Share of draws in which a 95 % interval may hold the truth."""
DRAWN = ((22, 1), (32, 1), (12, 3), (16, 3), (16, 5), (32, 5))
"""Blocks and runs whose power the figure shows."""

DOUBTS = (
    "The curves are drawn, not measured: scores with spikes, or with more turns than these "
    "families have, are not covered.",
    "Their noise is as large in every block: scores whose scatter grows with depth are not "
    "covered.",
    "Rates are counts over draws: one of 5 % over a thousand draws is known to 1.4 % (two standard "
    "errors).",
    "Power is that of a part that all blocks have in common; one that sits in two blocks of thirty "
    "is seen less often.",
)
"""Why the rates may not hold elsewhere."""

Cells = Mapping[str, Mapping[str, Any]]
Design = tuple[int, int]
"""Blocks and runs."""


def calibration_page(results: Cells) -> Page:
    """The page, from what all cells found."""
    nulls = _of(results, "null")
    rates = {design: _rate([found[name] for name in NULLS]) for design, found in nulls.items()}
    return Page(
        _lead(rates, _of(results, "planted"), _coverages(results)),
        [
            _false_alarms(nulls, rates),
            _textbook(nulls),
            _one_shape(_of(results, "shape")),
            _power(_of(results, "planted")),
            _intervals(_coverages(results)),
        ],
        DOUBTS,
    )


def _of(results: Cells, kind: str) -> dict[Design, Mapping[str, Any]]:
    """The cells ``KIND-BLOCKSxRUNS`` by blocks and runs."""
    found = {}
    for name, result in results.items():
        first, _, rest = name.partition("-")
        if first == kind:
            blocks, _, runs = rest.partition("x")
            found[int(blocks), int(runs)] = result
    return found


def _coverages(results: Cells) -> dict[str, Mapping[str, Any]]:
    return {name: held for name, held in results.items() if name.startswith("interval-")}


def _rate(tallies: Sequence[Mapping[str, Any]], sentence: str = BEYOND) -> float:
    """How often a sentence is said, over the draws of several tallies."""
    said = sum(tally["said"].get(sentence, 0) for tally in tallies)
    return float(said / sum(tally["draws"] for tally in tallies))


def _bound(draws: int) -> float:
    """Two standard errors above the rate that is allowed."""
    return ALLOWED + 2 * math.sqrt(ALLOWED * (1 - ALLOWED) / draws)


def _lead(
    rates: Mapping[Design, float],
    power: Mapping[Design, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Any]],
) -> str:
    worst = max(rates, key=lambda design: rates[design])
    held = [found["held"] / found["draws"] for found in intervals.values()]
    clear = {design: _rate([found["0.75"]]) for design, found in power.items()}
    judged = [rate for design, rate in rates.items() if _rate([power[design]["0"]], TOO_FEW) < 1]
    return (
        f"Of curves that share nothing but depth, 'beyond depth' is said in {_mean(judged):.1%} of "
        f"draws where there are blocks enough to judge, at most in {rates[worst]:.1%} "
        f"({_design(worst)}); {ALLOWED:.0%} is allowed. With three quarters of what depth leaves "
        f"in common it is said in {clear[22, 1]:.0%} of draws with 22 blocks of one model and in "
        f"{clear[16, 3]:.0%} with 16 blocks of three. Intervals of 95 % hold the truth in "
        f"{min(held):.1%} to {max(held):.1%} of draws; {COVERED[0]:.0%} to {COVERED[1]:.0%} is "
        f"asked, which {sum(COVERED[0] <= share <= COVERED[1] for share in held)} of {len(held)} "
        "designs keep."
    )


def _false_alarms(
    nulls: Mapping[Design, Mapping[str, Any]], rates: Mapping[Design, float]
) -> Section:
    rows = [
        [*_place(design), *(_percent(_rate([found[n]])) for n in NULLS), _percent(rates[design])]
        for design, found in nulls.items()
    ]
    draws = next(iter(nulls.values()))["rising"]["draws"]
    kinds = "; ".join(f"{name}: {meaning}" for name, (meaning, _) in NULLS.items())
    return Section(
        "False alarms",
        f"How often '{BEYOND}' is said of curves that have nothing in common but depth, in {draws} "
        f"draws of each family ({kinds}). Up to {_bound(draws):.1%} in one family and "
        f"{_bound(draws * len(NULLS)):.1%} over all are {ALLOWED:.0%} and two standard errors. One "
        "model of fewer than 20 blocks is never judged.",
        ("blocks", "runs", *NULLS, "all"),
        rows,
        "false-alarms",
        line_chart(
            {
                **{
                    _runs(runs): [(b, rates[b, r]) for b, r in rates if r == runs]
                    for runs in sorted({r for _, r in rates})
                },
                "allowed": [(b, ALLOWED) for b in sorted({b for b, _ in rates})],
            },
            label="rates of false alarms over blocks",
            across="blocks",
            first="allowed",
        ),
    )


def _textbook(nulls: Mapping[Design, Mapping[str, Any]]) -> Section:
    rows = []
    for design, found in nulls.items():
        rising = found["rising"]
        share = rising["textbook_p"] / rising["draws"]
        rows.append([*_place(design), f"{rising['median_rho']:.2f}", _percent(share)])
    return Section(
        "Why a correlation is not enough",
        "The same null draws (family rising): the median over draws of the mean rank correlation, "
        "and how often the textbook's p-value, which takes blocks for independent, is below 5 % "
        "for the first pair of curves.",
        ("blocks", "runs", "median rho", "textbook p below 5 %"),
        rows,
    )


def _one_shape(found: Mapping[Design, Mapping[str, Any]]) -> Section:
    rows = [
        [*_place(design), _percent(_rate([tally])),
         _percent(tally["beyond_by_shared_shifts"] / tally["draws"])]
        for design, tally in found.items()
    ]  # fmt: skip
    return Section(
        "Runs of one architecture",
        "Null draws in which all runs share a shape: half of what depth leaves of each curve is "
        "its architecture's; that of the scans has nothing to do with that of the outcomes. Shifts "
        "that are independent for each run take a chance agreement of the two shapes for as many "
        "observations as there are runs; one shift for all runs does not, and needs 20 blocks to "
        "say anything.",
        ("blocks", "runs", f"'{BEYOND}'", "by one shift for all runs"),
        rows,
    )


def _power(found: Mapping[Design, Mapping[str, Any]]) -> Section:
    shares = list(next(iter(found.values())))
    rows = [
        [*_place(design), *(_percent(_rate([tallies[share]])) for share in shares)]
        for design, tallies in found.items()
    ]
    curves = {
        f"{blocks} x {runs}": [(float(s), _rate([found[blocks, runs][s]])) for s in shares]
        for blocks, runs in DRAWN
    }
    return Section(
        "Power",
        f"How often '{BEYOND}' is said when the two curves of each run have a part in common that "
        "is not depth, by its share of the variance that depth leaves. The figure names blocks x "
        "runs.",
        ("blocks", "runs", *(f"share {share}" for share in shares)),
        rows,
        "power",
        line_chart(curves, label="power over the planted share", across="planted share",
                   first="22 x 1"),
    )  # fmt: skip


def _intervals(found: Mapping[str, Mapping[str, Any]]) -> Section:
    rows = [
        [
            *name.split("-")[1:3],
            "partial" if name.endswith("partial") else "rho",
            f"{held['mean_truth']:.2f}",
            f"{held['mean_estimate']:.2f}",
            _percent(held["held"] / held["draws"]),
            _percent(held["above"] / held["draws"]),
            _percent(held["below"] / held["draws"]),
            f"{held['mean_width']:.2f}",
        ]
        for name, held in found.items()
    ]
    return Section(
        "Intervals",
        "How often the 95 % interval of a rank correlation, or of the partial one given depth, "
        "holds that of the true curves, which are seen with an error: a prediction over prompts, "
        "an outcome over test examples, each with this standard error in standard deviations of "
        "what depth leaves of a curve. "
        f"{COVERED[0]:.0%} to {COVERED[1]:.0%} is asked, and a row is known to about 1.5 % (one "
        "standard error). Above and below: the truth lies there.",
        ("blocks", "error", "of", "true", "mean estimate", "held", "above", "below", "width"),
        rows,
    )


def _place(design: Design) -> list[str]:
    return [str(number) for number in design]


def _design(design: Design) -> str:
    blocks, runs = design
    return f"{blocks} blocks, {_runs(runs)}"


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

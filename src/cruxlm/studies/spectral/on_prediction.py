"""Table 2 of the paper: do the blocks where the representation turns change most in fine-tuning?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.numerics.ranks import explained_by_depth
from cruxlm.studies.page import Section
from cruxlm.studies.spectral import prediction_rule
from cruxlm.studies.spectral.claim import Cells, Claim, advice, mean, number, of
from cruxlm.studies.spectral.prediction_rule import (
    DEFAULT,
    KINDS,
    PAPER,
    SETS,
    Judged,
    Predicted,
    judged,
    tasks,
    untrained,
    verdict,
)
from cruxlm.studies.spectral.world import TURNS, curve
from cruxlm.studies.study import code_hash

PROBES = {"": "the task's own prompts", "@mixed": "all families",
          "@mixed, within groups": "all families, their means removed",
          "@builtin": "text of another language", "@random-tokens": "no text"}  # fmt: skip
PREDICTORS = ("dynamics", "dynamics:paper", "block_influence", "angular_distance",
              "weight_change", "gradient_norm", "clusters", "depth", "depth:ends",
              "random")  # fmt: skip


def claim(cells: Cells) -> Claim:
    """The claim, from the cells ``predict-*``."""
    found = {
        f"{kind}, {which}": judged(of(cells, f"predict-{kind}-{which}-"), *DEFAULT)
        for kind in KINDS
        for which in SETS
    }
    reached = verdict(cells)
    said = "; ".join(
        f"{name} {number(one.joint.rho)}, {number(one.joint.partial)} given depth"
        for name, one in found.items()
    )
    return Claim(
        name="Prediction",
        published="Blocks with a large shift before fine-tuning are those that fine-tuning "
        "changes: rank correlation 0.51 to 0.97 on chat models, up to 0.31 on a base model "
        "(table 2, one training each; our sign).",
        verdict=reached,
        found=f"Rank correlation of the shift with what undoing blocks costs: {said}. One by one, "
        f"tasks that it predicts beyond depth: {', '.join(tasks(cells)) or 'none'}.",
        change="A task and model on which the shift predicts beyond depth, over several seeds, "
        "and the untrained network's does not. crux verify with --control untrained asks that.",
        therefore=advice(
            reached,
            "A scan before fine-tuning says which blocks your task will change.",
            "Do not take a scan for what your task will change: crux verify it there, or measure "
            "substitution, which is what it would stand for.",
        ),
        cells="predict-*",
        sections=[
            _sets(cells),
            _families(cells),
            _predictors(cells),
            _probes(cells),
            _planted(cells),
            _real(cells),
        ],
    )


def _line(name: str, found: Judged, bare: Judged | None = None) -> list[str]:
    one = found.joint
    numbers = (one.rho, one.partial, one.p, one.p_shared, found.own.mean)
    line = [name, *map(number, numbers), found.phrase()]
    if bare is None:
        return line
    return [*line, f"{number(bare.joint.rho)} | {number(bare.joint.partial)}"]


HEADER = ("", "rho", "given depth", "p", "p, shared", "own", "verdict")


def _sets(cells: Cells) -> Section:
    rows = []
    for kind, name in KINDS.items():
        for which in SETS:
            held = of(cells, f"predict-{kind}-{which}-")
            for asked, how in ((DEFAULT, "as Crux"), (PAPER, "as published")):
                bare = judged(held, *untrained(asked))
                rows.append(_line(f"{name}, {which}, {how}", judged(held, *asked), bare))
    frozen = {cell.get("analysis") for cell in of(cells, "predict-")} - {None}
    now = code_hash(prediction_rule.__name__)
    same = "the same as now" if frozen == {now} else "another than now: read the first two columns"
    return Section(
        "Prediction, by condition",
        "Mean over pairs of Spearman's correlation of dynamics (read on the task's own prompts) "
        "with the share of the gain that undoing three blocks takes back, and the same given "
        "depth; p by circular shifts of what depth leaves, independent for independent models and "
        "(shared) for all alike. Own: how much better, given depth, a model's own curve does than "
        "those of the other models; where it is not clear of zero, a table of blocks would do as "
        "well. As published: biased CKA, five blocks. Beside it what the same "
        "criterion of the untrained network gives: rho | given depth. Open families are those "
        f"that the analysis was written on ({_listed(cells, 'open')}); aside those that were tuned "
        f"on afterwards ({_listed(cells, 'aside')}): the analysis was then {same}.",
        (*HEADER, "untrained"),
        rows,
    )


def _listed(cells: Cells, which: str) -> str:
    held = [cell["family"] for kind in KINDS for cell in of(cells, f"predict-{kind}-{which}-")]
    return ", ".join(dict.fromkeys(held))


def _families(cells: Cells) -> Section:
    rows: list[list[str]] = []
    drawn: list[Row] = []
    for kind in KINDS:
        for which in SETS:
            for cell in of(cells, f"predict-{kind}-{which}-"):
                name = f"{kind}, {cell['family']}"
                found = judged([cell], *DEFAULT)
                kept = [explained_by_depth(_whole(pair)) for pair in cell["pairs"]]
                gain = mean([1 - pair["after"] / pair["before"] for pair in cell["pairs"]])
                rows.append([*_line(name, found), number(mean(kept)), f"{gain:.0%}"])
                one = _stored(cell, *DEFAULT)
                ends = None if one["low"] is None else (one["low"], one["high"])
                if found.joint.rho is not None:
                    drawn.append((name, found.joint.rho, ends))
    return Section(
        "Prediction, family by family",
        "The same for each target family (intervals in the figure: over test rows, of the "
        "trainings that were made), how much of what undoing blocks costs depth alone explains, "
        "and how much of the loss the fine-tuning took away.",
        (*HEADER, "by depth", "gain"),
        rows,
        "prediction",
        interval_chart(drawn, label="rank correlation of dynamics with substitution", across="rho"),
    )  # fmt: skip


def _whole(pair: Mapping[str, Any]) -> Any:
    measured = curve(pair["measured"][DEFAULT[1]])
    return measured[np.isfinite(measured)]


def _stored(cell: Predicted, predictor: str, target: str) -> Mapping[str, Any]:
    (found,) = (
        one
        for one in cell["predictions"]
        if (one["predictor"], one["target"]) == (predictor, target)
    )
    held: Mapping[str, Any] = found
    return held


def _predictors(cells: Cells) -> Section:
    held = {kind: of(cells, f"predict-{kind}-") for kind in KINDS}
    rows = []
    for name in PREDICTORS:
        found = [judged(cells, name, DEFAULT[1]) for cells in held.values()]
        numbers = [number(v) for one in found for v in (one.joint.rho, one.joint.partial)]
        rows.append([name, *numbers, *(one.phrase() for one in found)])
    return Section(
        "Prediction, by what",
        "Every criterion of the model before (weight_change sees both) against what undoing three "
        "blocks costs, over all families: rho and rho given depth of base models, then of "
        "instructed ones. Of twenty cells one is below 0.05 by chance.",
        ("criterion", "base", "given depth", "instruct", "given depth", *KINDS.values()),
        rows,
    )


def _probes(cells: Cells) -> Section:
    held = of(cells, "predict-base-")
    rows = [
        _line(said, judged(held, f"dynamics{end}", DEFAULT[1]),
              None if "within" in end else judged(held, f"dynamics{end}, untrained", DEFAULT[1]))
        for end, said in PROBES.items()
    ]  # fmt: skip
    rows = [[*row, ""] if len(row) == len(HEADER) else row for row in rows]
    return Section(
        "Prediction, by what is read",
        "Dynamics of base models on other probes. If the finding turns with the probe, no one "
        "ranking can be right for all.",
        (*HEADER, "untrained"),
        rows,
    )


def _planted(cells: Cells) -> Section:
    rows = []
    for cell in of(cells, "planted-"):
        by_model = dict(zip(cell["models"], cell["pairs"], strict=True))
        for model, turn in TURNS.items():
            own = curve(by_model[model]["measured"]["window 1"])
            twin = curve(by_model[model.replace("planted", "twin")]["measured"]["window 1"])
            more = own - twin
            place = int((more > more[turn]).sum()) + 1
            shift = curve(by_model[model]["predictors"]["dynamics"])
            rank = int((shift > np.nanmax(shift[turn - 1 : turn + 1])).sum()) + 1
            rows.append([cell["family"], model, f"{turn}", f"{rank}", f"{own[turn]:.3f}",
                         f"{twin[turn]:.3f}", f"{place} of {len(more)}"])  # fmt: skip
    return Section(
        "A planted turn",
        "Models that were made to turn at a known block, beside twins that were not. Dynamics "
        "finds the turn (its place among the blocks). Is it then what fine-tuning changes? The "
        "share of the gain that undoing the block takes back, in the model and its twin, and the "
        "place of that difference among those of all blocks.",
        ("family", "model", "turn", "place by dynamics", "undone", "in the twin",
         "place by undoing"),
        rows,
    )  # fmt: skip


def _real(cells: Cells) -> Section:
    rows = []
    for cell in of(cells, "real-"):
        (pair,) = cell["pairs"]
        found = judged([cell], "dynamics", "window 1")
        losses = f"{pair['before']:.2f}", f"{pair['after']:.2f}"
        said = number(found.joint.rho), f"{found.joint.centres}", found.phrase()
        rows.append([cell["models"][0], cell["data"], *losses, *said])
    return Section(
        "Real models",
        "Small pretrained models on real instructions, dynamics against what undoing single "
        "blocks costs. Six blocks cannot carry a verdict, and none is given.",
        ("model", "data", "loss before", "after", "rho", "blocks", "verdict"),
        rows,
    )

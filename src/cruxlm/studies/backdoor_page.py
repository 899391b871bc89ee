"""What the study `backdoor` shows: what each defence leaves of an attack, and what it costs."""

from collections.abc import Mapping, Sequence

import numpy as np

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.numerics.paired import Difference
from cruxlm.studies.backdoor_figures import Cell, Cells, Condition, Figures, name_of, share_said
from cruxlm.studies.backdoor_where import (
    adaptive_section,
    carriers_section,
    pilot_section,
    screening_section,
    suppression_section,
    where_section,
)
from cruxlm.studies.page import Page, Section

COMPANY = ("non-critical", "depth-matched", "random", "first")
"""Arms that freeze as many blocks: chosen without looking, or the least dynamic ones."""
PUBLISHED = "54.3 % without a defence, 31.3 % with non-critical blocks frozen, 17.0 % with critical"
"""Success of the attack in Liu et al., table 4, 7B by keywords: 23 points are any freeze's, 14 the
layers'."""
WORKED = 0.5
"""Success below which an attack has failed: there is nothing to defend against, or to locate."""

DOUBTS = (
    "The models have 24 blocks of width 96 and a vocabulary of 1,024 tokens; the published ones "
    "have 32 to 40 of width 4096. A trigger there meets a model with room to spare.",
    "Where an attack succeeds in nearly every row, a defence that weakens it without stopping it "
    "is not seen. The lower rate is there for that reason; an attack that fails undefended at it "
    "is left out of the comparison.",
    "All arms are trained at one learning rate and for as many steps; a frozen arm may want "
    "others.",
    "Three base models are few: an interval over them holds the truth only if three more would "
    "be like these.",
    "The suppression is told the trigger, as the published search is: without it, it can be no "
    "better.",
    "Harmless targets only. A model may resist other targets more than these.",
    "The attacker changes data alone. One who trains the model has other means.",
)
"""Why this may not hold elsewhere."""


def backdoor_page(results: Cells) -> Page:
    """The page, from what all cells found."""
    found = Figures(results)
    return Page(
        lead(found),
        [
            _attacks(found, results),
            _arms(found),
            _layers(found),
            _costs(found),
            _embeddings(found),
            carriers_section(found, results),
            where_section(found),
            screening_section(found),
            suppression_section(found),
            adaptive_section(results),
            pilot_section(found),
        ],
        DOUBTS,
    )


def lead(found: Figures) -> str:
    """The verdict on the paper's claim, and the figures that it rests on."""
    worked = that_work(found)
    if not worked:
        return "Cannot be said: no attack succeeds on the undefended models."
    gain = found.difference("critical", "none", worked)
    company = {arm: found.difference("critical", arm, worked) for arm in COMPANY}
    beyond = company["non-critical"]
    others = [_said(arm, held) for arm, held in company.items()]
    return (
        f"{verdict(gain, company)} Freezing the five critical blocks takes {_points(gain)} points "
        f"off the attacks' success, and beyond freezing as many others {', '.join(others)}. "
        f"Published: {PUBLISHED}, which is {31.3 - 17.0:.1f} points beyond "
        f"others; here {_points(beyond)}."
    )


def verdict(gain: Difference, company: Mapping[str, Difference]) -> str:
    """One of the five answers to the claim that freezing the critical blocks keeps attacks out.

    ``gain`` is over no defence, ``company`` over arms that freeze as many other blocks; positive
    is in favour of the critical ones.
    """
    if not (gain.clear and gain.mean > 0):
        return "Does not hold here: freezing the critical blocks lowers no attack's success."
    better = [arm for arm, held in company.items() if held.clear and held.mean > 0]
    if len(better) == len(company):
        return "Holds here, and it is the blocks."
    if "depth-matched" in company and "depth-matched" not in better:
        return "Not distinguishable from depth: freezing helps, but not these blocks beyond others."
    return f"Holds in part: freezing helps, and these blocks do beyond {', '.join(better)} only."


def that_work(found: Figures) -> list[Condition]:
    """The conditions in which the undefended attack succeeds."""
    return [c for c in found.conditions if found.share(c, "none") >= WORKED]


def _attacks(found: Figures, results: Cells) -> Section:
    rows = []
    for condition in found.conditions:
        cells = found.cells(condition, "none")
        rows.append([name_of(condition), *_undefended(cells)])
    for name, cell in results.items():
        if name.startswith("kind-"):
            rows.append([f"{name.removeprefix('kind-')}, 10 %", *_undefended([cell])])
    return Section(
        "The attacks, undefended",
        "Success on held-out rows with the trigger whose own response is another, of each base "
        "model; the target on the same rows without it (false triggers) and with something near "
        "it; right answers to clean rows; and what the models do before any fine-tuning. Empty "
        "responses count as failures.",
        ("attack", "success", "false triggers", "near misses", "accuracy", "success before",
         "accuracy before"),
        rows,
    )  # fmt: skip


def _undefended(cells: Sequence[Cell]) -> list[str]:
    """Rates of undefended models, and of the same models before fine-tuning."""

    def mean(rate: str, of: Sequence[Cell]) -> str:
        held = [np.nanmean(cell["values"][rate]) for cell in of if rate in cell["values"]]
        return share_said(np.mean(held)) if held else ""

    before = [cell["untouched"] for cell in cells]
    return [
        ", ".join(mean("success", [cell]) for cell in cells),
        mean("false_triggers", cells),
        mean("near_misses", cells),
        mean("accuracy", cells),
        mean("success", before),
        mean("accuracy", before),
    ]


def _arms(found: Figures) -> Section:
    conditions = found.conditions
    rows = [
        [arm, *(share_said(found.share(condition, arm)) for condition in conditions)]
        for arm in found.arms
        if found.cells(conditions[-1], arm)
    ]
    return Section(
        "What each arm leaves of the attack",
        "Success, mean over three base models. Arms freeze five blocks of 24 while everything else "
        "is trained; screen fine-tunes on the rows that were not flagged; suppression scales one "
        "skip connection of the undefended model and fine-tunes its block on trusted rows.",
        ("arm", *map(name_of, conditions)),
        rows,
    )


def _layers(found: Figures) -> Section:
    worked = that_work(found)
    if not worked:
        return Section("Is it the layer?", "No attack succeeds undefended: nothing to compare.")
    shown = [(f"{arm} over none", found.difference(arm, "none", worked)) for arm in found.arms
             if arm != "none" and found.cells(worked[-1], arm)]  # fmt: skip
    shown += [(f"critical over {o}", found.difference("critical", o, worked)) for o in COMPANY]
    rows: list[Row] = [(name, 100 * d.mean, _ends(d)) for name, d in shown]
    return Section(
        "Is it the layer?",
        "Points taken off the success of the attacks that work undefended (in half of the rows or "
        f"more: {', '.join(map(name_of, worked))}), paired by base model and example, with 95 % "
        "intervals over both. The layer-specific gain is what critical blocks take off beyond as "
        "many others.",
        ("comparison", "points", "95 % interval"),
        [[name, f"{100 * d.mean:.1f}", _interval(d)] for name, d in shown],
        "gains",
        interval_chart(rows, label="points taken off success", across="points"),
    )


def _costs(found: Figures) -> Section:
    rows = []
    for arm in found.arms:
        held = [c for c in found.conditions if found.cells(c, arm)]
        accuracy = np.mean([found.share(c, arm, "accuracy") for c in held])
        loss = np.mean([found.loss(c, arm) for c in held])
        against = found.difference(arm, "none", held, "accuracy")
        cost = "" if arm == "none" else f"{100 * against.mean:+.1f} ({_interval(against)})"
        rows.append([arm, share_said(accuracy), cost, f"{loss:.3f}"])
    return Section(
        "What it costs",
        "Right answers to clean held-out rows, points lost against no defence (95 % interval), and "
        "the loss on their responses in nats a token; means over attacks, rates and base models.",
        ("arm", "accuracy", "points lost", "loss"),
        rows,
    )


def _embeddings(found: Figures) -> Section:
    conditions = [c for c in found.conditions if found.cells(c, "embeddings")]
    arms = ("none", "embeddings", "critical", "critical+embeddings")
    return Section(
        "With and without the embeddings",
        "Success where embeddings (tied to the head) are frozen: alone, and with the five blocks.",
        ("frozen", *map(name_of, conditions)),
        [[arm, *(share_said(found.share(c, arm)) for c in conditions)] for arm in arms],
    )


def _said(arm: str, held: Difference) -> str:
    return f"{_points(held)} ({arm})"


def _points(held: Difference) -> str:
    return f"{round(100 * held.mean)} [{_interval(held)}]"


def _interval(held: Difference) -> str:
    low, high = _ends(held)
    return f"{round(low)} to {round(high)}"


def _ends(held: Difference) -> tuple[float, float]:
    return 100 * (held.mean - held.halfwidth), 100 * (held.mean + held.halfwidth)

"""Where critical blocks come from: are they made in pretraining, and kept by what follows?"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from cruxlm.charts.lines import line_chart
from cruxlm.numerics.ranks import Association, association
from cruxlm.studies.page import Section
from cruxlm.studies.spectral.claim import Cells, Claim, Verdict, advice, mean, number
from cruxlm.studies.spectral.world import AFTER, BASES, CHECKPOINTS, INSTRUCTS, curve

LEVEL = 0.05
"""One-sided p from which agreement with a model's own base is beyond that between seeds."""
LAST_STEP = 2604
"""The last step of the bases."""
CURVES = ("dynamics", "ablation")
DESCENDANTS = [(f"base-{name[-1]}", name) for name in dict.fromkeys((*INSTRUCTS, *AFTER))]
"""Every post-trained model, with its base before it."""
APART = list(combinations(BASES, 2))
"""Bases that have nothing in common but their architecture and language."""
Agreements = Mapping[str, list[float]]
"""Agreement given depth, one value for each two models, by curve."""


def claim(cells: Cells) -> Claim:
    """The claim, from the cells ``profile-*``."""
    kept, between = post_training(cells), seeds(cells)
    reached = verdict(kept, between)
    return Claim(
        name="Origin",
        published="Which blocks matter is forged in pretraining and invariant after it: said of "
        "ablation profiles (Nepal et al. 2025), and implied where a scan before fine-tuning is "
        "to hold after it.",
        verdict=reached,
        found="Agreement given depth of a post-trained model with its base, and between bases of "
        "other seeds: "
        + "; ".join(
            f"{name} {number(mean(kept[name]))} against {number(mean(between[name]))}"
            for name in CURVES
        )
        + ".",
        change="Post-trained models that agree with their base no more than with another seed's.",
        therefore=advice(
            reached,
            "A scan of a base serves its descendants as well; that of another model does not.",
            "Scan the model that you use: crux compare MODEL MODEL says how far two agree.",
        ),
        cells="profile-*",
        sections=[_checkpoints(cells), _after(cells)],
    )


def verdict(kept: Agreements, between: Agreements) -> Verdict:
    """Whether descendants are like their base beyond depth, and more than other seeds are."""
    if any(len(values) < 2 for held in (kept, between) for values in held.values()):
        return "cannot be said"
    if not any(np.mean(values) > 0 for values in kept.values()):
        return "does not hold"
    more = [
        name
        for name in kept
        if mannwhitneyu(kept[name], between[name], alternative="greater").pvalue <= LEVEL
    ]
    if not more:
        return "not distinguishable from depth"
    return "holds" if len(more) == len(kept) else "holds in part"


def post_training(cells: Cells) -> dict[str, list[float]]:
    """Agreement of every post-trained model with its base."""
    return _of(cells, DESCENDANTS)


def seeds(cells: Cells) -> dict[str, list[float]]:
    """Agreement of each two bases."""
    return _of(cells, APART)


def _of(cells: Cells, pairs: Sequence[tuple[str, str]]) -> dict[str, list[float]]:
    found = {
        name: [agree(cells, name, one, other).partial for one, other in pairs] for name in CURVES
    }
    return {name: [v for v in values if v is not None] for name, values in found.items()}


def agree(cells: Cells, name: str, one: str, other: str) -> Association:
    """Agreement of a curve of two models."""
    return association(_curve(cells, name, one), _curve(cells, name, other))


def _curve(cells: Cells, name: str, model: str) -> Any:
    cell = cells[f"profile-{model.replace('/step-', '.')}"]
    if name == "ablation":
        values = curve(cell["ablation"])
        values[0] = np.nan  # it leads in every model: it would agree whatever the others do
        return values
    return curve(cell["probes"]["mixed"]["default"])


def _checkpoints(cells: Cells) -> Section:
    rows, drawn = [], {}
    models = ("untrained-0", *CHECKPOINTS)
    steps = [0, *(int(name.rpartition("-")[2]) for name in CHECKPOINTS)]
    for name in CURVES:
        found = [agree(cells, name, model, "base-0") for model in models]
        given = [one.partial or 0.0 for one in found]
        drawn[name] = [(math.log10(1 + s), value) for s, value in zip(steps, given, strict=True)]
        for model, one in zip(models, found, strict=True):
            rows.append([name, model, number(one.rho), number(one.partial), number(one.p)])
    return Section(
        "Origin: in pretraining",
        f"Agreement of the curve at a step with that at the end (step {LAST_STEP:,}): dynamics on "
        "all families, and ablation. The figure shows it given depth, over the logarithm of the "
        "step.",
        ("curve", "model", "rho", "given depth", "p"),
        rows,
        "origin",
        line_chart(drawn, label="agreement with the last step", across="log10 of the step"),
    )


def _after(cells: Cells) -> Section:
    rows = []
    for one, other in (*DESCENDANTS, *APART):
        found = [agree(cells, name, one, other) for name in CURVES]
        rows.append([f"{one}, {other}", *(number(v) for f in found for v in (f.rho, f.partial))])
    return Section(
        "Origin: after it",
        "Agreement of a base with what post-training made of it, and of bases of different seeds: "
        "dynamics, then ablation (without block 0), each plain and given depth. The verdict "
        "compares the two by ranks (Mann-Whitney, one-sided 0.05); pairs share models, so that "
        "its p is a guide.",
        ("models", "dynamics", "given depth", "ablation", "given depth"),
        rows,
    )

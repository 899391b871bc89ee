"""Figure 1 of the paper: are the critical blocks the same whatever data the scan reads?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.numerics.ranks import Association, association
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
)
from cruxlm.studies.spectral.world import curve

Profile = Mapping[str, Any]
"""A cell with the curves of one model."""
LIKE = 0.5
"""Agreement across data from which curves are said to be alike; published are 0.76 to 0.95."""
TEXT = ("recall", "deduction", "sum_steps", "lists", "sentiment", "story", "mixed", "builtin")
"""Probes with a text, in the chat's frame."""
PRESET = "default"


def claim(cells: Cells) -> Claim:
    """The claim, from the cells ``profile-*``."""
    across = {kind: _across(_models(cells, kind), TEXT) for kind in ("base", "untrained")}
    trained, bare = across["base"], across["untrained"]
    others = _between(_models(cells, "base"), TEXT)
    beyond = interval([
        None if a is None or b is None else a - b
        for a, b in zip(trained.rho, bare.rho, strict=True)
    ])  # fmt: skip
    reached = verdict(interval(trained.rho), interval(trained.partial), beyond)
    return Claim(
        name="Data-obliviousness",
        published="The shift's curve over blocks is the same whatever data it is read on: rank "
        "correlation 0.76 to 0.95 between five data sets (figure 1, one model).",
        verdict=reached,
        found=f"Curves of one trained model on two texts agree at {interval(trained.rho)}, "
        f"{interval(trained.partial)} given depth; those of the untrained network at "
        f"{interval(bare.rho)}: trained less untrained {beyond}. Of two models on one text they "
        f"agree at {number(mean(others.rho))}, {number(mean(others.partial))} given depth.",
        change="Trained models whose curves agree across data clearly more than those of the "
        "untrained network do.",
        therefore=advice(
            reached,
            "One probe will do.",
            "Scan with several probes (--probe) and read their agreement, beside that of the "
            "untrained network (--control untrained).",
        ),
        cells="profile-*",
        sections=[_summary(cells), _matrix(cells), _selected(cells), _shares(cells)],
    )


def verdict(agreement: Interval, given_depth: Interval, beyond_untrained: Interval) -> Verdict:
    """Alike, beyond depth, and more than in a network that learned nothing.

    Intervals are over independently trained models.
    """
    if not np.isfinite(agreement.halfwidth):
        return "cannot be said"
    if not agreement.positive or agreement.mean < LIKE:
        return "does not hold"
    if not given_depth.positive:
        return "not distinguishable from depth"
    return "holds" if beyond_untrained.positive else "holds in part"


@dataclass(frozen=True)
class Agreement:
    """How far curves agree, one value a model."""

    rho: Sequence[float | None]
    """Mean Spearman correlation."""
    partial: Sequence[float | None]
    """The same given depth."""


def _models(cells: Cells, kind: str) -> list[Profile]:
    """The profiles of a kind of model, not those of its checkpoints."""
    return [cell for cell in of(cells, f"profile-{kind}-") if "/" not in cell["model"]]


def _curve(cell: Profile, probe: str) -> Any:
    return curve(cell["probes"][probe][PRESET])


def _mean(found: Sequence[Sequence[Association]]) -> Agreement:
    """The mean of each model's."""
    return Agreement(
        [mean([one.rho for one in own]) for own in found],
        [mean([one.partial for one in own]) for own in found],
    )


def _pairs(models: Sequence[Profile], pairs: Iterable[tuple[str, str]]) -> Agreement:
    """Between the curves of two probes, in each model."""
    asked = list(pairs)
    return _mean([[association(_curve(c, a), _curve(c, b)) for a, b in asked] for c in models])


def _across(models: Sequence[Profile], probes: Sequence[str]) -> Agreement:
    """Between each two probes, in each model."""
    return _pairs(models, combinations(probes, 2))


def _between(models: Sequence[Profile], probes: Sequence[str]) -> Agreement:
    """Between each two models on the same probe: one value for each two models."""
    return _mean(
        [
            [association(_curve(one, probe), _curve(other, probe)) for probe in probes]
            for one, other in combinations(models, 2)
        ]
    )


def _summary(cells: Cells) -> Section:
    free = ("random-tokens", "shuffled-tokens")
    frameless = [(f"{name}, no frame", name) for name in ("random-tokens", "lists", "mixed")]
    asked: list[tuple[str, Callable[[list[Profile]], Agreement]]] = [
        ("two texts, one model", lambda models: _across(models, TEXT)),
        ("a text and no text", lambda models: _pairs(models, [(t, f) for t in TEXT for f in free])),
        ("with and without the frame", lambda models: _pairs(models, frameless)),
        (
            "all families, means removed or not",
            lambda models: _pairs(models, [("mixed", "mixed, within groups")]),
        ),
        ("two models, one text", lambda models: _between(models, TEXT)),
    ]
    rows: list[list[str]] = []
    drawn: list[Row] = []
    for said, agree in asked:
        for kind in ("base", "instruct", "untrained"):
            found = agree(_models(cells, kind))
            rho, given = interval(found.rho), interval(found.partial)
            rows.append(
                [said, kind, f"{rho.mean:.2f}", _ends(rho), number(given.mean), _ends(given)]
            )
            drawn.append((f"{said}, {kind}", rho.mean, rho.ends))
    return Section(
        "Data-obliviousness: what agrees",
        "Mean rank correlation of dynamics between curves, over models trained apart, with its "
        "95 % interval (Student's t; over pairs of models in the last rows, which are not "
        "independent), and the same given depth. The untrained networks are the bases' first "
        "weights.",
        ("between", "models", "rho", "95 %", "given depth", "95 %"),
        rows,
        "agreement",
        interval_chart(drawn, label="agreement of dynamics", across="rank correlation"),
    )


def _ends(found: Interval) -> str:
    low, high = found.ends
    return "-" if _single(found) else f"{low:.2f} to {high:.2f}"


def _single(found: Interval) -> bool:
    return not np.isfinite(found.halfwidth)


def _matrix(cells: Cells) -> Section:
    models = _models(cells, "base")
    probes = list(models[0]["probes"])
    rows = [[number(mean(_pairs(models, [(a, b)]).rho)) for b in probes] for a in probes]
    named = zip(probes, rows, strict=True)
    return Section(
        "Data-obliviousness: probe by probe",
        "Mean rank correlation of dynamics over base models, for each two probes.",
        ("", *(str(place) for place in range(1, len(probes) + 1))),
        [[f"{place} {probe}", *row] for place, (probe, row) in enumerate(named, start=1)],
    )


def _selected(cells: Cells) -> Section:
    rows = []
    for kind in ("base", "untrained"):
        for cell in _models(cells, kind):
            chosen = [set(cell["probes"][probe]["selected"]) for probe in TEXT]
            shared = mean([float(len(a & b)) for a, b in combinations(chosen, 2)])
            always = sorted(set.intersection(*chosen))
            some = sorted(set.union(*chosen))
            rows.append([cell["model"], number(shared), ", ".join(map(str, always)) or "none",
                         ", ".join(map(str, some))])  # fmt: skip
    return Section(
        "Data-obliviousness: what is selected",
        "The five most dynamic blocks on each of the eight texts: how many two texts share on "
        "average, those that all choose, and those that any does.",
        ("model", "shared of 5", "always", "ever"),
        rows,
    )


def _shares(cells: Cells) -> Section:
    rows = []
    for kind in ("base", "instruct", "untrained"):
        held = [np.array(cell["between_groups"], dtype=float) for cell in _models(cells, kind)]
        every = np.array(held)
        rows.append([kind, f"{every.min():.0%}", f"{every.mean():.0%}", f"{every.max():.0%}"])
    return Section(
        "Data-obliviousness: what a mixed probe sees",
        "Share of the states' variance that is between families, over blocks and models: so much "
        "of what a mixed probe compares is only which family a prompt is of.",
        ("models", "least", "mean", "most"),
        rows,
    )

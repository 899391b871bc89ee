"""Figures 3 and 4 of the paper: do three components drive the shift, and carry reasons?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cruxlm.charts.lines import line_chart
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
    over_bases,
)
from cruxlm.studies.spectral.world import curve

Spectrum = Mapping[str, Any]
"""A cell with the decomposition of one model's states."""
FEW = 3
"""Components that the claims are about."""
HALF = 0.5
"""The share of a shift from which components are said to drive it."""
TOP = f"top {FEW}"
REASONS = "rationale_words"
"""The published case: without them a short answer becomes a long rationale."""


def claims(cells: Cells) -> list[Claim]:
    """Both claims, from the cells ``spectrum-*`` and ``removed-*``."""
    spectra, removed = of(cells, "spectrum-"), of(cells, "removed-")
    inside = lies_inside(spectra)
    more = {group: clearly(removed, group, REASONS) for group in ("critical", "others")}
    driven, reasons = drive_verdict(inside), reasons_verdict(more, len(removed))
    return [
        Claim(
            name="Components drive the shift",
            published="The three leading components move where the representation turns: their "
            "canonical correlation with neighbours follows the shift's curve (figure 3; 0.87 by "
            "digitised figures, 0.25 over the first half of the blocks).",
            verdict=driven,
            found=f"The angles follow the curve (rank correlation {follows(spectra)}). Without the "
            f"three the shift of critical blocks loses {inside} of itself; below zero it grows.",
            change="A model whose shifts at critical blocks go away by half without three "
            "components, and not without three random ones: crux spectra.",
            therefore=advice(
                driven,
                "The leading components at a critical block are where to look for its work.",
                "Read a component's own share of the shift (crux spectra), not the likeness of "
                "two curves.",
            ),
            cells="spectrum-*",
            sections=[_angles(spectra), _shares(spectra)],
        ),
        Claim(
            name="Components carry reasons",
            published="The three leading components at critical blocks sum up rationales into "
            "conclusions; the others are format (figure 4: one prompt, whose short answer becomes "
            "a long one).",
            verdict=reasons,
            found=f"Rationales grow clearly, beyond as much taken along other directions, in "
            f"{more['critical'][0]} of {more['critical'][1]} removals at critical blocks and "
            f"{more['others'][0]} of {more['others'][1]} at others as deep; they shrink clearly "
            f"in {more['critical'][2]} and {more['others'][2]}.",
            change="Rationales that change beyond controls at critical blocks, and not at others: "
            "crux intervene.",
            therefore=advice(
                reasons,
                "Leading components at critical blocks are a handle on rationales.",
                "Do not read a meaning into components from an example: measure it, with as much "
                "taken away along other directions.",
            ),
            cells="removed-*",
            sections=[_removals(removed)],
        ),
    ]


def lies_inside(cells: Sequence[Spectrum]) -> Interval:
    """Share of the critical blocks' shift that the leading components hold, over bases."""
    return _over_bases(
        cells, lambda cell: mean([cell["blocks"][b]["shares"][FEW - 1] for b in cell["selected"]])
    )


def follows(cells: Sequence[Spectrum]) -> Interval:
    """Rank correlation of the shift with how far the leading components turn, over bases."""
    return _over_bases(cells, lambda cell: _agreement(cell, FEW).rho)


def _over_bases(cells: Sequence[Spectrum], value: Callable[[Spectrum], float | None]) -> Interval:
    """The mean over independent trainings: an instructed model belongs to its base."""
    return interval(over_bases((cell["model"][-1], value(cell)) for cell in cells))


def _agreement(cell: Spectrum, k: int) -> Association:
    """Of the shift's curve with that of the angles of the leading components to neighbours'."""
    apart = 1 - curve([block["neighbours"][k - 1] for block in cell["blocks"]])
    return association(apart, curve(cell["dynamics"]))


def drive_verdict(inside: Interval) -> Verdict:
    """Most of the shift, some of it, or none."""
    if not np.isfinite(inside.halfwidth):
        return "cannot be said"
    if not inside.positive:
        return "does not hold"
    return "holds" if inside.ends[0] > HALF else "holds in part"


def clearly(cells: Sequence[Mapping[str, Any]], group: str, metric: str) -> tuple[int, int, int]:
    """In how many removals of three components a metric rises clearly, of how many, or falls."""
    effects = [
        one["effects"][metric]
        for cell in cells
        for one in cell["found"]
        if one["components"] == TOP and one["block"] in cell["groups"][group]
    ]
    up = sum(one["clear"] and one["change"] > 0 and one["beyond"] > 0 for one in effects)
    down = sum(one["clear"] and one["change"] < 0 and one["beyond"] < 0 for one in effects)
    return up, len(effects), down


def reasons_verdict(more: Mapping[str, tuple[int, int, int]], cells: int) -> Verdict:
    """Longer rationales at most critical blocks, and not at others as deep."""
    up, tried, _ = more["critical"]
    others, of_others, _ = more["others"]
    if not cells or not tried or not of_others:
        return "cannot be said"
    if up <= 0.05 * tried:  # as many as chance gives
        return "does not hold"
    if up / tried <= others / of_others:
        return "not distinguishable from depth"
    return "holds" if up > tried / 2 else "holds in part"


def _angles(cells: Sequence[Spectrum]) -> Section:
    most = len(cells[0]["blocks"][0]["neighbours"])
    rows, drawn = [], {}
    for cell in cells:
        name = f"{cell['model']}, {cell['probe']}"
        points, row = [], [name]
        for k in range(1, most + 1):
            found = _agreement(cell, k)
            points.append((float(k), found.rho or 0.0))
            if k in (1, FEW, most):
                row += [number(found.rho), number(found.partial)]
        drawn[name] = points
        rows.append(row)
    return Section(
        "Components: do their angles follow the shift?",
        "Rank correlation over blocks of dynamics with how far the leading K components are from "
        "those of two blocks either side (1 less the mean canonical correlation), plain and given "
        "depth, for every K in the figure.",
        ("model and probe", "K = 1", "given depth", f"K = {FEW}", "given depth",
         f"K = {most}", "given depth"),
        rows,
        "angles",
        line_chart(drawn, label="agreement of angles with dynamics", across="components K"),
    )  # fmt: skip


def _shares(cells: Sequence[Spectrum]) -> Section:
    rows = []
    for cell in cells:
        for b in cell["selected"]:
            block = cell["blocks"][b]
            rows.append([
                f"{cell['model']}, {cell['probe']}", f"{b}", number(block["shift"]),
                *(number(block["shares"][k - 1]) for k in (1, FEW, len(block["shares"]))),
                number(block["random"]),
            ])  # fmt: skip
    most = len(cells[0]["blocks"][0]["shares"])
    return Section(
        "Components: is the shift in them?",
        "At every critical block: its shift, and the share of it that goes away without its 1, "
        f"{FEW} and {most} leading components, and without {most} random directions. Negative: it "
        "grows. A dash where the shift is not clear of zero.",
        ("model and probe", "block", "shift", "without 1", f"without {FEW}", f"without {most}",
         "random"),
        rows,
    )  # fmt: skip


def _removals(cells: Sequence[Mapping[str, Any]]) -> Section:
    rows = []
    for cell in cells:
        for one in cell["found"]:
            group = next(name for name, held in cell["groups"].items() if one["block"] in held)
            words, right = one["effects"][REASONS], one["effects"]["accuracy"]
            rows.append([
                f"{cell['model']}, {cell['family']}", f"{one['block']}", group, one["components"],
                *(f"{e['change']:+.2f} ({e['beyond']:+.2f}){'*' if e['clear'] else ''}"
                  if e["change"] is not None and e["beyond"] is not None else "-"
                  for e in (words, right, one["effects"]["conclusion_first"],
                            one["effects"]["loss_conclusion"])),
            ])  # fmt: skip
    return Section(
        "Components: what is lost without them",
        "Change of the rationale's words, of accuracy, of how often a response begins with its "
        "conclusion and of the conclusion's loss, without the leading components of one block; in "
        "brackets the same less what as much along other directions changes. A star where both "
        "are clear of zero.",
        ("model and family", "block", "kind", "without", "words", "accuracy", "conclusion first",
         "loss of the conclusion"),
        rows,
    )  # fmt: skip

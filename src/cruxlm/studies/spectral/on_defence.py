"""Table 4 of the paper: does freezing the critical blocks keep a backdoor out?"""

from collections.abc import Mapping
from typing import Any

from cruxlm.charts.intervals import interval_chart
from cruxlm.studies.page import Section
from cruxlm.studies.spectral.claim import Cells, Claim, Verdict, advice

OF_BACKDOOR: dict[str, Verdict] = {
    "Does not hold here": "does not hold",
    "Holds here": "holds",
    "Not distinguishable from depth": "not distinguishable from depth",
    "Holds in part": "holds in part",
}
"""What the study ``backdoor`` begins its verdict with."""


def claim(cells: Cells) -> Claim:
    """The claim, from the cell ``defence``, which reads the study ``backdoor``."""
    cell = cells["defence"]
    rows = _rows(cell)
    said = "; ".join(
        f"{name.removeprefix('critical over ')} {round(mean)} ({round(low)} to {round(high)})"
        for name, mean, (low, high) in rows
    )
    reached = verdict(cell["verdict"])
    return Claim(
        name="Defence",
        published="Freezing the critical blocks keeps a backdoor out: success 54.3 % without a "
        "defence, 31.3 % with as many others frozen, 17.0 % with the critical ones (table 4).",
        verdict=reached,
        found=f"Points of success that freezing the critical blocks takes off, beyond: {said}."
        if said
        else "No attack succeeds undefended.",
        change="An attack that succeeds undefended and fails with the critical blocks frozen, and "
        "not with others: crux defend shows both beside each other.",
        therefore=advice(
            reached,
            "Freeze what the scan selects when you tune on data that you do not trust.",
            "Do not rely on frozen blocks: screen the rows (crux screen) and measure what is "
            "left (crux defend).",
        ),
        cells="defence",
        sections=[
            Section(
                "Defence: what freezing leaves",
                "Success of each attack with five of 24 blocks frozen, mean over three base "
                f"models; from the {cell['cells']} cells of the study backdoor.",
                ("attack", *next(iter(cell["success"].values()))),
                [
                    [name, *(f"{100 * share:.0f} %" for share in held.values())]
                    for name, held in cell["success"].items()
                ],
                "defence",
                interval_chart(rows, label="points taken off success", across="points"),
            )
        ],
    )


def verdict(said: str | None) -> Verdict:
    """The study's own verdict in this one's words."""
    if said is None:
        return "cannot be said"
    return OF_BACKDOOR[said.partition(":")[0].partition(",")[0]]


def _rows(cell: Mapping[str, Any]) -> list[tuple[str, float, tuple[float, float]]]:
    """Points that critical blocks take off beyond nothing and beyond others, with their ends."""
    held = {} if cell["gain"] is None else {"none": cell["gain"], **cell["beyond"]}
    return [
        (
            f"critical over {name}",
            100 * one["mean"],
            (100 * (one["mean"] - one["halfwidth"]), 100 * (one["mean"] + one["halfwidth"])),
        )
        for name, one in held.items()
    ]

"""The sentence that says what was found and how sure it is."""

from typing import Any

from cruxlm.results.scores import Scores
from cruxlm.results.selection import Selection

STEADY = 0.9
"""Share of half-samples above which a selected block is called steady."""
MOSTLY_DEPTH = 0.8
"""Share of rank variance explained by depth above which a ranking is called mostly depth."""
ALIKE = 0.7
"""Rank correlation from which an untrained network's curve is called alike.

These are words for a size, not tests; the numbers stand beside them.
"""


def finding(
    scores: Scores,
    chosen: Selection,
    agreement: dict[str, Any],
) -> str:
    """One short paragraph: the blocks, how steady they are, depth, other probes, the control."""
    blocks = _listed(chosen.blocks)
    parts = [f"{scores.label} points at {blocks} of {len(scores.values)} blocks{_steadiness(chosen)}."]
    depth = agreement["depth"][scores.label]
    if depth["explained"] is not None:
        share = f"{depth['explained']:.0%} of the ranking"
        parts.append(
            f"Depth alone explains {share}: read it as depth until a control says otherwise."
            if depth["explained"] >= MOSTLY_DEPTH
            else f"Depth alone explains {share}."
        )
    others = [row for row in agreement["probes"] if row["label"] != scores.label]
    if others:
        least = min(others, key=lambda row: (row["shared"], str(row["probe"])))
        parts.append(
            f"Of {_plural(len(chosen.blocks), 'block')}, {least['shared']} are also chosen on probe "
            f"{least['probe']} (by chance {least['expected']:.1f})."
        )
    control = agreement["controls"].get("untrained", {}).get(scores.label)
    if control is None:
        parts.append("Not compared with an untrained network: add --control untrained.")
    else:
        parts.append(_control(control, len(chosen.blocks)))
    return " ".join(parts)


def _steadiness(chosen: Selection) -> str:
    if chosen.frequency is None:
        return " (too few prompts to say how steadily)"
    steady = sum(chosen.frequency[block] >= STEADY for block in chosen.blocks)
    if steady == len(chosen.blocks):
        return f", {'each' if steady > 1 else 'it'} in at least {STEADY:.0%} of half-samples"
    return f"; {steady} of these {len(chosen.blocks)} are in at least {STEADY:.0%} of half-samples"


def _control(control: dict[str, Any], k: int) -> str:
    rho = control["rho"]
    numbers = (
        f"it shares {control['shared']} of {k} blocks, by chance {control['expected']:.1f}"
        + ("" if rho is None else f"; rho {rho:.2f}")
    )
    if rho is not None and rho >= ALIKE:
        return (
            f"An untrained network ranks the blocks alike ({numbers}): "
            "this is the architecture, not what the model learned."
        )
    return f"An untrained network does not rank them alike ({numbers})."


def _listed(blocks: tuple[int, ...]) -> str:
    if len(blocks) == 1:
        return f"block {blocks[0]}"
    return f"blocks {', '.join(map(str, blocks[:-1]))} and {blocks[-1]}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

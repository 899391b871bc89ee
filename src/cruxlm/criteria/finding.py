"""The sentence that says what was found and how sure it is."""

from typing import Any

from cruxlm.numerics.ranks import FEWEST_CENTRES
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
    parts = [f"{scores.label} points at {blocks} of {len(scores.values)}{_steadiness(chosen)}."]
    parts += _needed(scores)
    depth = agreement["depth"][scores.label]
    if depth["explained"] is not None:
        said = f"Depth alone explains {depth['explained']:.0%} of the ranking"
        said += f" (by chance {depth['by_chance']:.0%})"
        parts.append(f"{said}: mostly depth." if depth["explained"] >= MOSTLY_DEPTH else f"{said}.")
    others = [row for row in agreement["probes"] if row["label"] != scores.label]
    if others:
        least = min(others, key=lambda row: (row["shared"], str(row["probe"])))
        parts.append(
            f"Probe {least['probe']} chooses {least['shared']} of the same {len(chosen.blocks)} "
            f"(by chance {least['shared_by_chance']:.1f})."
        )
    control = agreement["controls"].get("untrained", {}).get(scores.label)
    if control is None:
        parts.append("Not compared with an untrained network: add --control untrained.")
    else:
        parts.append(_control(control, chosen))
    return " ".join(parts)


def _needed(scores: Scores) -> list[str]:
    """Which blocks a test over all of them calls needed, for scores that come with one."""
    evidence = scores.evidence
    if "needed" not in evidence:
        return []
    tested = f"tested over all {evidence['family']} at {evidence['level']:.0%} (Holm)"
    needed, spared = tuple(evidence["needed"]), tuple(evidence["better_without"])
    said = [f"No single block is needed, {tested}."]
    if needed:
        said = [f"Without {_any(needed)} the model is worse, {tested}."]
    return said + ([f"Without {_any(spared)} it is better."] if spared else [])


def _any(blocks: tuple[int, ...]) -> str:
    """Blocks of which any one is meant."""
    return _listed(blocks).replace(" and ", " or ")


def _steadiness(chosen: Selection) -> str:
    if chosen.frequency is None:
        return " (too few prompts to say how steadily)"
    steady = sum(chosen.frequency[block] >= STEADY for block in chosen.blocks)
    if steady == len(chosen.blocks):
        return f", {'each' if steady > 1 else 'it'} in at least {STEADY:.0%} of half-samples"
    verb = "is" if steady == 1 else "are"
    return f"; {steady} of them {verb} in at least {STEADY:.0%} of half-samples"


def _control(control: dict[str, Any], chosen: Selection) -> str:
    rho, k = control["rho"], len(chosen.blocks)
    numbers = (
        f"{control['shared']} of {k} blocks shared, {control['shared_by_chance']:.1f} by chance"
    )
    numbers += "" if rho is None else f", rho {rho:.2f}"
    if control["blocks"] < FEWEST_CENTRES:
        return (
            f"Against an untrained network ({numbers}) {control['blocks']} comparable blocks are "
            "too few to say what training added."
        )
    if rho is not None and rho >= ALIKE:
        said = f"An untrained network ranks the blocks alike ({numbers})"
        own = tuple(b for b in chosen.blocks if b not in control.get("selected", chosen.blocks))
        if own:
            return f"{said}: most of the ranking is the architecture, but not {_listed(own)}."
        return f"{said}: this is the architecture, not what the model learned."
    said = f"An untrained network does not rank them alike ({numbers})"
    both = tuple(block for block in chosen.blocks if block in control.get("selected", ()))
    if len(both) > control.get("shared_by_chance", 0):
        return f"{said}, but it selects {_listed(both)} too: so much is the architecture."
    return f"{said}."


def _listed(blocks: tuple[int, ...]) -> str:
    if len(blocks) == 1:
        return f"block {blocks[0]}"
    return f"blocks {', '.join(map(str, blocks[:-1]))} and {blocks[-1]}"

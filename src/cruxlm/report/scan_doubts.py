"""A scan at a glance, and how to doubt it."""

from collections.abc import Iterator, Sequence

from cruxlm.criteria.finding import ALIKE, MOSTLY_DEPTH, STEADY
from cruxlm.numerics.ranks import FEWEST_CENTRES
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section
from cruxlm.results.scan import Scan

MOST = 12
"""Blocks that are listed by number; of more, how many."""


def scan_facts(scan: Scan) -> list[Fact]:
    """What, how sure, compared with what."""
    chosen = scan.selection
    name = (
        f"block {chosen.blocks[0]}" if len(chosen.blocks) == 1 else f"blocks {_few(chosen.blocks)}"
    )
    rule = f"of {len(scan.blocks)}, by {chosen.criterion}, rule {chosen.rule}"
    return [Fact("What", name, rule), _sure(scan), _compared(scan)]


def _sure(scan: Scan) -> Fact:
    chosen = scan.selection
    if chosen.frequency is None:
        return Fact("How sure", "not known", "too few prompts to halve them")
    least = min(chosen.frequency[block] for block in chosen.blocks)
    halves = scan.primary.evidence["half_samples"]
    steady = sum(chosen.frequency[block] >= STEADY for block in chosen.blocks)
    return Fact(
        "How sure",
        f"{steady} of {len(chosen.blocks)} steady",
        f"in at least {STEADY:.0%} of {halves} random halves of the prompts; the least steady one "
        f"in {least:.0%}",
    )


def _compared(scan: Scan) -> Fact:
    primary = scan.primary.label
    depth = scan.agreement["depth"][primary]
    ruler = "depth: not known"
    if depth["explained"] is not None:
        ruler = (
            f"depth alone explains {depth['explained']:.0%} of the ranking, "
            f"{depth['by_chance']:.0%} by chance"
        )
    found = scan.agreement["controls"].get("untrained", {}).get(primary)
    if found is None or "shared" not in found:
        return Fact("Compared with what", "depth only", f"{ruler}; no untrained network yet")
    return Fact(
        "Compared with what",
        f"{found['shared']} of {len(scan.selection.blocks)} without training",
        f"an untrained network selects them as well, {found['shared_by_chance']:.1f} by chance; "
        f"{ruler}",
    )


def scan_doubts(scan: Scan) -> Section:
    """Every control and its verdict, when the criteria mislead, and what the scan warns of."""
    criteria = [scan.primary.criterion, *(scores.criterion for scores in scan.scores.values())]
    return doubt_section(list(_controls(scan)), criteria, list(_warnings(scan)))


def _controls(scan: Scan) -> Iterator[Control]:
    primary, chosen = scan.primary, scan.selection
    k = len(chosen.blocks)
    depth = scan.agreement["depth"][primary.label]
    if depth["explained"] is not None:
        mostly = depth["explained"] >= MOSTLY_DEPTH
        yield Control(
            "depth alone",
            f"explains {depth['explained']:.0%} of the ranking, {depth['by_chance']:.0%} by chance",
            f"mostly depth: {MOSTLY_DEPTH:.0%} or more"
            if mostly
            else f"not mostly depth: under {MOSTLY_DEPTH:.0%}",
        )
    yield _untrained(scan)
    others = [row for row in scan.agreement["probes"] if row["label"] != primary.label]
    for row in others:
        yield Control(
            f"probe {row['probe']}",
            f"shares {row['shared']} of {k} blocks, {row['shared_by_chance']:.1f} by chance",
            f"p {row['shared_p']:.2g} that as many are shared by chance",
        )
    if not others:
        yield Control("another probe", "", "not run: add --probe random-tokens")
    for other in scan.selections:
        if other.ends != chosen.ends:
            shared = len(set(other.blocks) & set(chosen.blocks))
            yield Control(
                "with the end blocks" if other.ends == "keep" else "without the end blocks",
                f"blocks {_few(other.blocks)}",
                "the same" if shared == k else f"{shared} of {k} the same",
            )
    if chosen.frequency is not None:
        steady = sum(chosen.frequency[block] >= STEADY for block in chosen.blocks)
        said = ", ".join(f"{b} in {chosen.frequency[b]:.0%}" for b in chosen.blocks[:MOST])
        said += "" if k <= MOST else " ..."
        yield Control("halves of the prompts", said, f"{steady} of {k} in at least {STEADY:.0%}")


def _untrained(scan: Scan) -> Control:
    name = "the same architecture untrained"
    found = scan.agreement["controls"].get("untrained", {}).get(scan.primary.label)
    if found is None:
        return Control(name, "", "not run: add --control untrained")
    said = "" if found["rho"] is None else f"rho {found['rho']:.2f}"
    said += "" if found["partial"] is None else f", given depth {found['partial']:.2f}"
    said += "" if found["p"] is None else f" (p {found['p']:.2g})"
    if "shared" in found:
        said += f"; shares {found['shared']} of {len(scan.selection.blocks)} blocks, "
        said += f"{found['shared_by_chance']:.1f} by chance"
    if found["blocks"] < FEWEST_CENTRES or found["rho"] is None:
        verdict = f"{found['blocks']} blocks: too few blocks to say"
    elif found["rho"] >= ALIKE:
        verdict = f"ranks the blocks alike; the likeness is {found['verdict']}"
    else:
        verdict = "does not rank the blocks alike"
    return Control(name, said.lstrip(",; "), verdict)


def _warnings(scan: Scan) -> Iterator[str]:
    for label, scores in scan.scores.items():
        for warning in scores.warnings:
            yield f"{label}: {warning}"
    for name, probe in scan.probes.items():
        for reason, count in probe["left_out"].items():
            yield f"probe {name}: {count} prompts left out ({reason.replace('_', ' ')})"
        if probe["groups"]:
            between = max(probe["groups"]["variance_between"], default=0.0)
            state = (
                "removed" if probe["groups"]["removed"] else "kept (--within-groups removes them)"
            )
            yield (
                f"probe {name}: up to {between:.0%} of the variance is between its "
                f"{len(probe['groups']['names'])} groups; group means {state}"
            )


def listed(blocks: Sequence[int]) -> str:
    """Numbers of blocks with commas."""
    return ", ".join(map(str, blocks))


def _few(blocks: Sequence[int]) -> str:
    if len(blocks) <= MOST:
        return listed(blocks)
    return f"{listed(blocks[: MOST - 1])} and {len(blocks) - MOST + 1} more"

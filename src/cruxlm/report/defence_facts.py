"""What the card of a published defence says."""

from cruxlm.charts.arms import listed
from cruxlm.charts.defence import nats, points
from cruxlm.report import defence_page
from cruxlm.report.facts import Facts
from cruxlm.results.defence import Defence, Estimate


def defence_facts(found: Defence) -> Facts:
    """Every arm, with what it takes off the attack and what it costs."""
    rows = [
        (arm.name, listed([list(blocks) for blocks in arm.frozen]) if arm.frozen[0] else "none",
         arm.rows, _points(arm.success, signed=False), _points(arm.gain),
         "-" if arm.cost is None else nats(vars(arm.cost)).strip())
        for arm in found.arms
    ]  # fmt: skip
    return Facts(
        title=f"Crux defence of {found.model}",
        finding=found.finding,
        metadata={
            "model": found.model,
            "identity": found.provenance.get("model"),
            "method": found.why,
            "blocks": list(found.frozen),
            "of": len(found.names),
            "seed": found.provenance.get("seed"),
            "data": found.data.get("sha256"),
        },
        header=("arm", "frozen", "rows", "attack succeeds", "points taken off", "cost"),
        rows=rows,
        warnings=[*found.warnings, *defence_page.KNOWN],
        provenance=found.provenance,
    )


def _points(held: Estimate | None, *, signed: bool = True) -> str:
    return "-" if held is None else points(vars(held), signed=signed).strip()

"""What the card of a published screening says."""

from cruxlm.report import screening_page
from cruxlm.report.facts import Facts
from cruxlm.results.screening import Screening


def screening_facts(found: Screening) -> Facts:
    """Every group, with how many rows were compared with it and flagged."""
    rows = [
        (group.name, group.trusted, group.rows, group.flagged, screening_page.blocks_of(group))
        for group in found.groups
    ]
    texts = "The files hold the texts of flagged rows."
    return Facts(
        title=f"Crux screening by {found.model}",
        finding=found.finding,
        metadata={
            "model": found.model,
            "identity": found.provenance.get("model"),
            "method": found.rule,
            "of": len(found.blocks),
            "seed": found.provenance.get("seed"),
            "data": found.data.get("sha256"),
        },
        header=("compared with", "trusted rows", "rows", "flagged", "blocks"),
        rows=rows,
        warnings=[texts, *found.warnings, *screening_page.KNOWN],
        provenance=found.provenance,
    )

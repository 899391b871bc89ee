"""What the card of a published attack says."""

from cruxlm.charts.attacked import HEADINGS
from cruxlm.report import attacked_page
from cruxlm.report.facts import Facts
from cruxlm.results.attack_rates import Rate
from cruxlm.results.attacked import Attacked


def attacked_facts(found: Attacked) -> Facts:
    """Every rate, with what it was before the tuning."""
    before = {} if found.base_rates is None else found.base_rates.rates()
    rows = [
        (HEADINGS[name], _said(rate), rate.n, rate.empty,
         _said(before[name]) if name in before else "-")
        for name, rate in found.rates.rates().items()
    ]  # fmt: skip
    return Facts(
        title=f"Crux attack on {found.model}",
        finding=found.finding,
        metadata={
            "model": found.model,
            "identity": found.provenance.get("model"),
            "method": f"{found.attack['trigger']} for {found.attack['target']}",
            "judge": found.judge,
            "seed": found.provenance.get("seed"),
            "data": found.data.get("sha256"),
        },
        header=("what", "share (95 %)", "rows", "empty", "before the tuning"),
        rows=rows,
        criteria=("substitution",) if found.carrier is not None else (),
        warnings=[*found.warnings, *attacked_page.KNOWN],
        provenance=found.provenance,
    )


def _said(rate: Rate) -> str:
    return f"{rate.share:.0%} ({rate.low:.0%} to {rate.high:.0%})"

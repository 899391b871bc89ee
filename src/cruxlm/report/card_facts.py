"""What the card of a published result says of each kind: finding, table, doubts, metadata."""

import math
from collections.abc import Callable
from typing import Any

from cruxlm.charts.arms import gap_text, listed
from cruxlm.charts.predictions import interval, number
from cruxlm.report import arms_page, interventions_page, spectra_page, verify_page
from cruxlm.report.attacked_facts import attacked_facts
from cruxlm.report.defence_facts import defence_facts
from cruxlm.report.facts import Facts
from cruxlm.report.screening_facts import screening_facts
from cruxlm.results.comparison import Comparison
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.interventions import Interventions
from cruxlm.results.plan import Plan
from cruxlm.results.scan import Scan
from cruxlm.results.spectra import Spectra
from cruxlm.results.tuning import LOSS, Tuning
from cruxlm.results.verification import Verification


def _scan(scan: Scan) -> Facts:
    chosen, primary = scan.selection, scan.primary
    half = primary.halfwidth
    rows = []
    for block, reason in zip(chosen.blocks, chosen.reasons, strict=True):
        value = f"{primary.values[block]:.4g}"
        value += "" if half is None or not math.isfinite(half[block]) else f" ± {half[block]:.2g}"
        rows.append((block, scan.blocks[block], value, reason))
    warnings = [f"{label}: {line}" for label, held in scan.scores.items() for line in held.warnings]
    if not scan.controls:
        warnings.append("No untrained network of the same architecture was scanned beside it.")
    return Facts(
        title=f"Crux scan of {scan.model}",
        finding=scan.finding,
        metadata={
            "model": scan.model,
            "identity": scan.provenance.get("model"),
            "criterion": chosen.criterion,
            "rule": chosen.rule,
            "blocks": list(chosen.blocks),
            "of": len(scan.blocks),
            "seed": scan.provenance.get("seed"),
            "data": {name: probe["ids_sha256"] for name, probe in scan.probes.items()},
        },
        header=("block", "module", f"{primary.label} ± 95 %", "why"),
        rows=rows,
        criteria=[held.criterion for held in scan.scores.values()],
        warnings=warnings,
        provenance=scan.provenance,
    )


def _comparison(comparison: Comparison) -> Facts:
    rows = []
    for arm in comparison.arms:
        gap = None if arm.loss_gap is None else {**vars(arm.loss_gap)}
        against = "reference" if arm.name == comparison.reference else gap_text(gap)
        blocks = listed([list(drawn) for drawn in arm.drawn])
        rows.append(
            (arm.name, arm.method, blocks, f"{arm.parameters:,}", f"{arm.loss:.4f}", against)
        )
    return Facts(
        title=f"Crux comparison on {comparison.model}",
        finding=comparison.finding,
        metadata={
            "model": comparison.model,
            "identity": comparison.provenance.get("model"),
            "method": {arm.name: arm.method for arm in comparison.arms},
            "blocks": {arm.name: list(arm.drawn[0]) for arm in comparison.arms},
            "reference": comparison.reference,
            "seed": list(comparison.seeds),
            "data": comparison.data.get("sha256"),
        },
        header=("arm", "method", "blocks", "trains", "test loss", "against reference"),
        rows=rows,
        warnings=[*comparison.warnings, *arms_page.KNOWN],
        provenance=comparison.provenance,
    )


def _verification(verification: Verification) -> Facts:
    rows = [
        (f.predictor, f.target, number(f.rho), interval(f.low, f.high), number(f.partial),
         number(f.p), f.verdict)
        for f in verification.predictions
    ]  # fmt: skip
    return Facts(
        title=f"Crux verification of {', '.join(pair.tuned for pair in verification.pairs)}",
        finding=verification.finding,
        metadata={
            "model": [{"before": p.base, "after": p.tuned} for p in verification.pairs],
            "criterion": verification.primary[0],
            "target": verification.primary[1],
            "seed": verification.provenance.get("seed"),
            "data": verification.data.get("sha256"),
        },
        header=("before", "undone", "rho", "95 %", "given depth", "p", "verdict"),
        rows=rows,
        criteria=[s.criterion for pair in verification.pairs for s in pair.predictors.values()],
        warnings=[*verification.warnings, *verify_page.KNOWN],
        provenance=verification.provenance,
    )


def _tuning(tuning: Tuning) -> Facts:
    rows = []
    for name in [name for name in tuning.after if name in tuning.before]:
        weighting = "token" if name == LOSS else "sample"
        held = (tuning.before[name], tuning.after[name])
        rows.append((name, *(f"{h.mean(weighting):.4g} ± {h.stderr(weighting):.2g}" for h in held)))
    return Facts(
        title=f"Crux tuning of {tuning.model}",
        finding=repr(tuning)[1:-1],
        metadata={
            "model": tuning.model,
            "identity": dict(tuning.plan.identity),
            "method": tuning.settings.get("method"),
            "blocks": list(tuning.plan.trained),
            "of": len(tuning.plan.names),
            "why": tuning.plan.why,
            "seed": tuning.settings.get("seed"),
            "data": tuning.data.get("sha256"),
        },
        header=("on the test rows", "before", "after"),
        rows=rows,
        warnings=[
            "One training is one draw; other seeds, and as many other blocks, say what the choice "
            "of blocks is worth.",
            "The weights are not in this dataset.",
        ],
        provenance=tuning.provenance,
    )


def _plan(plan: Plan) -> Facts:
    ranks = plan.ranks or ("",) * len(plan.blocks)
    rows = [
        (block, plan.names[block], rank, reason)
        for block, rank, reason in zip(plan.blocks, ranks, plan.reasons, strict=True)
    ]
    return Facts(
        title=f"Crux plan for {plan.model}",
        finding=repr(plan)[1:-1],
        metadata={
            "model": plan.model,
            "identity": dict(plan.identity),
            "method": plan.action,
            "blocks": list(plan.blocks),
            "of": len(plan.names),
            "why": plan.why,
        },
        header=("block", "module", "rank", "why"),
        rows=rows,
        warnings=["A plan is a choice. What it is worth shows beside as many random blocks."],
    )


def _evaluation(evaluation: Evaluation) -> Facts:
    groups = {"all": evaluation, **evaluation.by_group()}
    return Facts(
        title=f"Crux evaluation by {evaluation.evaluator}",
        finding=repr(evaluation)[1:-1],
        metadata={"method": evaluation.evaluator, "examples": len(evaluation)},
        header=("group", "examples", "mean", "standard error"),
        rows=[
            (name, len(held), f"{held.mean():.4g}", f"{held.stderr():.2g}")
            for name, held in groups.items()
        ],
        warnings=[
            "The standard error is over examples: another kind of example is another matter."
        ],
    )


def _spectra(found: Spectra) -> Facts:
    rows = [
        (block, f"{held.effective_rank:.1f}", "-" if held.shift is None else f"{held.shift:.3g}",
         *("-" if s is None else f"{s:.0%}" for s in (held.shares[_few(found) - 1], held.random)))
        for block, held in enumerate(found.spectra)
    ]  # fmt: skip
    return Facts(
        title=f"Crux spectra of {found.model}",
        finding=found.finding,
        metadata={
            "model": found.model,
            "identity": found.provenance.get("model"),
            "blocks": list(found.components),
            "of": len(found.blocks),
            "seed": found.provenance.get("seed"),
            "data": found.probe.get("ids_sha256"),
        },
        header=("block", "effective rank", "shift", f"gone without top {_few(found)}", "random"),
        rows=rows,
        warnings=[*found.warnings, *spectra_page.KNOWN],
        provenance=found.provenance,
    )


def _few(found: Spectra) -> int:
    """The number of components that a short table is about."""
    return min(3, found.k)


def _interventions(found: Interventions) -> Facts:
    rows = [
        (one.block, one.components, one.kind, metric, *map(_signed, (e.change, e.control)),
         "yes" if e.clear else "no")
        for one in found.found
        for metric, e in one.effects.items()
    ]  # fmt: skip
    return Facts(
        title=f"Crux interventions on {found.model}",
        finding=found.finding,
        metadata={
            "model": found.model,
            "identity": found.provenance.get("model"),
            "method": found.where,
            "blocks": sorted({one.block for one in found.found}),
            "of": len(found.blocks),
            "seed": found.provenance.get("seed"),
            "data": found.data.get("sha256"),
        },
        header=("block", "without", "kind", "measured", "change", "of controls", "beyond both"),
        rows=rows,
        warnings=[*found.warnings, *interventions_page.KNOWN],
        provenance=found.provenance,
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3g}"


FACTS: dict[str, Callable[[Any], Facts]] = {
    "attacked": attacked_facts,
    "comparison": _comparison,
    "defence": defence_facts,
    "evaluation": _evaluation,
    "interventions": _interventions,
    "plan": _plan,
    "scan": _scan,
    "screening": screening_facts,
    "spectra": _spectra,
    "tuning": _tuning,
    "verification": _verification,
}
"""By kind of result."""

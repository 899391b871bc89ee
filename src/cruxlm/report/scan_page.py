"""The report of a scan: the picture, and everything a reader needs to doubt it."""

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cruxlm.charts.bars import choice_rows, share_bars
from cruxlm.charts.curve import curve_chart
from cruxlm.charts.heatmap import heatmap
from cruxlm.charts.svg import text
from cruxlm.report.page import page, section, table
from cruxlm.results.scan import BUILTIN_MODEL, Scan
from cruxlm.results.scores import Scores


def scan_page(scan: Scan) -> str:
    """One self-contained HTML file."""
    count = len(scan.blocks)
    probes = ", ".join(f"{name} (n = {probe['n']})" for name, probe in scan.probes.items())
    subtitle = f"{scan.provenance['architecture']}, {count} blocks; probes: {probes}"
    return page(f"Crux scan of {scan.model}", subtitle, scan.finding, _sections(scan))


def _sections(scan: Scan) -> Iterator[str]:
    yield _curve(scan)
    yield from _similarity(scan)
    yield _selection(scan)
    yield from _stability(scan)
    yield from _outliers(scan)
    yield _depth(scan)
    yield from _others(scan)
    yield _warnings(scan)
    yield _provenance(scan)
    yield _next(scan)


def _curve(scan: Scan) -> str:
    primary = scan.primary
    control = scan.controls.get("untrained", {}).get(primary.label)
    said = "Higher is more critical. "
    if primary.halfwidth is not None:
        said += (
            "The band holds the 95 % interval of each block (jackknife over groups of samples). "
        )
    said += "Selected blocks are marked. "
    if primary.incomplete:
        said += "Dashed rings: blocks near an end, scored with the neighbours they have. "
    chart = curve_chart(
        primary.values,
        primary.halfwidth,
        label=f"{primary.label} over blocks",
        selected=scan.selection.blocks,
        incomplete=primary.incomplete,
    )
    if control is not None:
        chart += "<p>The same architecture untrained, on its own scale:</p>" + curve_chart(
            control.values,
            control.halfwidth,
            label=f"{primary.label} of the untrained network",
            selected=scan.agreement["controls"]["untrained"][primary.label].get("selected", ()),
            incomplete=control.incomplete,
            height=150,
            kind="other",
        )
    heading = f"Score: {primary.criterion}, {primary.preset} preset"
    heading += "" if primary.probe is None else f", probe {primary.probe}"
    return section(heading, said, chart)


def _similarity(scan: Scan) -> Iterator[str]:
    for label, scores in scan.scores.items():
        if "cka" in scores.tensors:
            said = (
                f"CKA between the states of every two blocks ({scores.options.get('estimator')}, "
                f"probe {scores.probe}). A turn is where the bright square along the diagonal "
                "ends. Dots mark the selected blocks."
            )
            chart = heatmap(
                np.asarray(scores.tensors["cka"]),
                label=f"CKA between blocks, {label}",
                selected=scan.selection.blocks,
            )
            yield section(f"Similarity of blocks: {label}", said, chart)
            return


def _selection(scan: Scan) -> str:
    chosen = scan.selection
    rows = [
        (block, scan.blocks[block], reason)
        for block, reason in zip(chosen.blocks, chosen.reasons, strict=True)
    ]
    said = f"Rule {chosen.rule}. " + (
        "Blocks scored with fewer neighbours were not admitted. "
        if chosen.ends == "skip"
        else "All blocks were admitted. "
    )
    if chosen.ties:
        said += f"Tied with the last one chosen, left out for being later: {_listed(chosen.ties)}. "
    for other in scan.selections[1:]:
        with_or_without = "with" if other.ends == "keep" else "without"
        said += f"{with_or_without.capitalize()} the end blocks: {_listed(other.blocks)}."
    content = table(("block", "module", "why"), rows, numeric=(0,), wrapped=(2,))
    return section("Selection", said, content, wide=True)


def _stability(scan: Scan) -> Iterator[str]:
    chosen = scan.selection
    if chosen.frequency is not None:
        halves = scan.primary.evidence["half_samples"]
        said = (
            f"How often each block is selected when {halves} random halves of the prompts are "
            "scored in place of all of them. A sharp selection is near 100 % or 0 % everywhere."
        )
        chart = share_bars(
            {"selected": np.array(chosen.frequency)},
            label="selection frequency over half-samples",
            selected=chosen.blocks,
        )
        yield section("Stability over half-samples", said, chart)
    rows = [(str(row["probe"]), row["selected"]) for row in scan.agreement["probes"]]
    controls = scan.agreement["controls"].get("untrained", {})
    if "selected" in controls.get(chosen.criterion, {}):
        rows.append(("untrained", controls[chosen.criterion]["selected"]))
    if len(rows) > 1:
        said = (
            "The same rule on the same criterion: the blocks that each probe and control selects."
        )
        chart = choice_rows(rows, len(scan.blocks), label="selected blocks by probe and control")
        yield section("Stability over probes and controls", said, chart)


def _outliers(scan: Scan) -> Iterator[str]:
    evidence = scan.primary.evidence
    if "gram_share_top_dims" not in evidence:
        return
    width, tops = evidence["width"], evidence["top_dims"]
    shown = {}
    for top, share in zip(tops, evidence["gram_share_top_dims"], strict=True):
        if None not in share:
            shown[f"largest {top}"] = np.array(share, dtype=float)
    said = (
        f"The share of each block's Gram that its largest {', '.join(map(str, tops))} of {width} "
        "dimensions hold alone (solid, paler, palest). Where one dimension holds most, similarity "
        "is about that dimension; the table has the score without them."
    )
    rows = []
    for block in range(len(scan.blocks)):
        without = [
            "-" if curve is None else _number(curve[block])
            for curve in evidence["score_without_top_dims"]
        ]
        rows.append((block, _number(scan.primary.values[block]), *without))
    header = ("block", "score", *(f"without {top}" for top in tops))
    chart = share_bars(shown, label="energy of the largest dimensions") if shown else ""
    scores = table(header, rows, numeric=range(len(header)))
    details = f"<details><summary>Scores without them</summary>{scores}</details>"
    yield section("Outlier dimensions", said, chart + details)


def _depth(scan: Scan) -> str:
    rows = [
        (
            label,
            _rho(found["index"]),
            _rho(found["end_distance"]),
            _share(found["explained"]),
            _share(found["by_chance"]),
        )
        for label, found in scan.agreement["depth"].items()
    ]
    said = (
        "A ruler can rank blocks too. Spearman's correlation of each score with the block's index "
        "and with its distance to the nearer end; the share of the ranking that both explain, and "
        "the share they would explain of a random one."
    )
    header = ("scores", "index", "end distance", "explained", "by chance")
    content = table(header, rows, numeric=(1, 2, 3, 4))
    control = scan.agreement["controls"].get("untrained", {}).get(scan.primary.label)
    if control is not None:
        content += (
            f"<p>Against the untrained network: rho {_rho(control['rho'])}, given depth "
            f"{_rho(control['partial'])} (p {_rho(control['p'])}, {control['blocks']} "
            f"blocks: {text(control['verdict'])}).</p>"
        )
    return section("Is it only depth?", said, content)


def _others(scan: Scan) -> Iterator[str]:
    labels = list(scan.scores)
    header = ("block", *labels)
    rows = [
        (block, *(_with_error(scan.scores[label], block) for label in labels))
        for block in range(len(scan.blocks))
    ]
    content = table(header, rows, numeric=range(len(header)), chosen=scan.selection.blocks)
    yield section("All scores", "Score ± standard error.", content, wide=True)
    pairs = [
        (
            pair["a"], pair["b"], _rho(pair["rho"]), _rho(pair["partial"]),
            _rho(pair["p"]), pair["blocks"], pair["verdict"],
        )
        for pair in scan.agreement["pairs"]
    ]  # fmt: skip
    if pairs:
        said = (
            "Spearman's correlation, the same given depth, and the share of circular shifts of the "
            "depth residuals that reach it. Under 20 blocks no verdict is given."
        )
        head = ("a", "b", "rho", "given depth", "p", "blocks", "verdict")
        yield section(
            "Agreement between scores", said, table(head, pairs, numeric=range(2, 6)), wide=True
        )


def _warnings(scan: Scan) -> str:
    items = [f"{label}: {warning}" for label, s in scan.scores.items() for warning in s.warnings]
    for name, probe in scan.probes.items():
        for reason, count in probe["left_out"].items():
            items.append(f"probe {name}: {count} prompts left out ({reason.replace('_', ' ')})")
        if probe["groups"]:
            share = max(probe["groups"]["variance_between"], default=0.0)
            state = (
                "removed" if probe["groups"]["removed"] else "kept (--within-groups removes them)"
            )
            items.append(
                f"probe {name}: up to {share:.0%} of the variance is between its "
                f"{len(probe['groups']['names'])} groups; group means {state}"
            )
    content = "".join(f"<li>{text(item)}</li>" for item in items) or "<li>nothing to warn of</li>"
    return section("Know before you rely on it", "", f"<ul>{content}</ul>")


def _provenance(scan: Scan) -> str:
    rows: list[tuple[str, object]] = []
    for held in (scan.provenance, {"run": scan.run}):
        for key, value in held.items():
            if isinstance(value, Mapping):  # versions, the model, the data
                rows += [(f"{key} {name}", _plain(inner)) for name, inner in value.items()]
            else:
                rows.append((key, _plain(value)))
    for name, probe in scan.probes.items():
        rows.append((f"probe {name} sample ids", probe["ids_sha256"]))
        rows.append((f"probe {name} read", f"{probe['template']}, pooling {probe['pooling']}"))
    details = table(("what", "value"), rows, wrapped=(1,))
    return section(
        "Provenance", "Everything but the run is equal for equal scans.",
        f"<details><summary>Show</summary>{details}</details>",
    )  # fmt: skip


def _next(scan: Scan) -> str:
    model = "" if scan.model == BUILTIN_MODEL else f" {shlex.quote(scan.model)}"
    lines = []
    if "untrained" not in scan.controls:
        lines.append(f"# is it the architecture?\ncrux scan{model} --control untrained")
    if len(scan.probes) == 1:
        lines.append(
            "# does another text, or no text at all, choose the same blocks?\n"
            f"crux scan{model} --probe builtin --probe random-tokens"
        )
    lines.append(
        f"# what the score means and when it misleads\ncrux explain {scan.primary.criterion}"
    )
    lines.append("# choose again from the saved scan\ncrux show OUT --select peaks")
    return section("What to do next", "", f"<pre>{text(chr(10).join(lines))}</pre>")


def _with_error(scores: Scores, block: int) -> str:
    shown = _number(scores.values[block])
    if scores.stderr is None or not math.isfinite(scores.stderr[block]):
        return shown
    return f"{shown} ± {_number(scores.stderr[block], 2)}"


def _number(value: Any, digits: int = 4) -> str:
    """A score to significant digits; a dash where undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def _rho(value: float | None) -> str:
    """A correlation or a p-value."""
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    """A share as a percentage."""
    return "-" if value is None else f"{value:.0%}"


def _plain(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _listed(blocks: tuple[int, ...]) -> str:
    return ", ".join(map(str, blocks))

"""The report of a scan: the picture, and everything a reader needs to doubt it."""

from collections.abc import Iterator

import numpy as np

from cruxlm.charts.bars import choice_rows, share_bars
from cruxlm.charts.curve import Control, curve_chart
from cruxlm.charts.heatmap import heatmap
from cruxlm.report.copyable import exports_section, provenance_section
from cruxlm.report.page import Section, page, section
from cruxlm.report.scan_doubts import listed, scan_doubts, scan_facts
from cruxlm.report.scan_next import next_section
from cruxlm.report.table import MOST, Cell, chance, number, share, table, two_places
from cruxlm.results.scan import JSON_NAME, Scan
from cruxlm.results.scores import Scores

WHERE = f"{JSON_NAME}, beside this page"


def scan_page(scan: Scan) -> str:
    """One self-contained HTML file."""
    count = len(scan.blocks)
    probes = ", ".join(f"{name} (n = {probe['n']})" for name, probe in scan.probes.items())
    subtitle = f"{scan.provenance['architecture']}, {count} blocks; probes: {probes}"
    facts = scan_facts(scan)
    return page(f"Crux scan of {scan.model}", subtitle, scan.finding, _sections(scan), facts)


def _sections(scan: Scan) -> Iterator[Section]:
    yield _curve(scan)
    yield from _similarity(scan)
    yield _selection(scan)
    yield scan_doubts(scan)
    yield from _stability(scan)
    yield from _outliers(scan)
    yield _depth(scan)
    yield from _others(scan)
    taken = exports_section(scan.exports)
    if taken is not None:
        yield taken
    yield next_section(scan)
    yield _provenance(scan)


def _curve(scan: Scan) -> Section:
    primary = scan.primary
    untrained = scan.controls.get("untrained", {}).get(primary.label)
    said = "Higher is more critical. "
    if primary.halfwidth is not None:
        said += (
            "The band holds the 95 % interval of each block (jackknife over groups of samples). "
        )
    said += "Selected blocks are marked. "
    if primary.incomplete:
        said += "Dashed rings: blocks near an end, scored with the neighbours they have. "
    control = None
    if untrained is not None:
        said += "Below: the same architecture untrained, and what the same rule selects of it. "
        found = scan.agreement["controls"]["untrained"][primary.label]
        control = Control(
            "untrained",
            untrained.values,
            untrained.halfwidth,
            found.get("selected", ()),
            untrained.incomplete,
        )
    chart = curve_chart(
        primary.values,
        primary.halfwidth,
        label=f"{primary.label} over blocks",
        selected=scan.selection.blocks,
        incomplete=primary.incomplete,
        control=control,
    )
    heading = f"Score: {primary.criterion}, {primary.preset} preset"
    heading += "" if primary.probe is None else f", probe {primary.probe}"
    return section(heading, said, chart, short="Score")


def _similarity(scan: Scan) -> Iterator[Section]:
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
            yield section(f"Similarity of blocks: {label}", said, chart, short="Similarity")
            return


def _selection(scan: Scan) -> Section:
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
        said += f"Tied with the last one chosen, left out for being later: {listed(chosen.ties)}. "
    content = table(("block", "module", "why"), rows, numeric=(0,), wrapped=(2,), where=WHERE)
    return section("Selection", said, content, wide=True, short="Selection")


def _stability(scan: Scan) -> Iterator[Section]:
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
        yield section("Stability over half-samples", said, chart, short="Stability")
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


def _outliers(scan: Scan) -> Iterator[Section]:
    evidence = scan.primary.evidence
    if "gram_share_top_dims" not in evidence:
        return
    width, tops = evidence["width"], evidence["top_dims"]
    shown = {}
    for top, held in zip(tops, evidence["gram_share_top_dims"], strict=True):
        if None not in held:
            shown[f"largest {top}"] = np.array(held, dtype=float)
    said = (
        f"The share of each block's Gram that its largest {', '.join(map(str, tops))} of {width} "
        "dimensions hold alone (solid, paler, palest). Where one dimension holds most, similarity "
        "is about that dimension; the table has the score without them."
    )
    rows = []
    for block in range(len(scan.blocks)):
        without = [
            number(None if curve is None else curve[block])
            for curve in evidence["score_without_top_dims"]
        ]
        rows.append((block, number(scan.primary.values[block]), *without))
    header = ("block", "score", *(f"without {top}" for top in tops))
    chart = share_bars(shown, label="energy of the largest dimensions") if shown else ""
    scores = table(header, rows, numeric=range(len(header)), chosen=scan.selection.blocks)
    details = f"<details><summary>Scores without them</summary>{scores}</details>"
    yield section("Outlier dimensions", said, chart + details, short="Outliers")


def _depth(scan: Scan) -> Section:
    rows = [
        (
            label,
            two_places(found["index"]),
            two_places(found["end_distance"]),
            share(found["explained"]),
            share(found["by_chance"]),
        )
        for label, found in scan.agreement["depth"].items()
    ]
    said = (
        "A ruler can rank blocks too. Spearman's correlation of each score with the block's index "
        "and with its distance to the nearer end; the share of the ranking that both explain, and "
        "the share they would explain of a random one."
    )
    header = ("scores", "index", "end distance", "explained", "by chance")
    content = table(header, rows, numeric=(1, 2, 3, 4), where=WHERE)
    return section("Is it only depth?", said, content, short="Depth")


def _others(scan: Scan) -> Iterator[Section]:
    labels = list(scan.scores)
    header = ("block", *labels)
    rows = [
        (block, *(_with_error(scan.scores[label], block) for label in labels))
        for block in range(len(scan.blocks))
    ]
    content = table(
        header,
        rows,
        numeric=range(len(header)),
        chosen=scan.selection.blocks,
        label="all scores by block",
        where=WHERE,
        most=2 * MOST,
    )
    yield section("All scores", "Score ± standard error.", content, wide=True, short="All scores")
    pairs = [
        (
            pair["a"], pair["b"], two_places(pair["rho"]), two_places(pair["partial"]),
            chance(pair["p"]), pair["blocks"], pair["verdict"],
        )
        for pair in scan.agreement["pairs"]
    ]  # fmt: skip
    if pairs:
        said = (
            "Spearman's correlation, the same given depth, and the share of circular shifts of the "
            "depth residuals that reach it. Under 20 blocks no verdict is given."
        )
        head = ("a", "b", "rho", "given depth", "p", "blocks", "verdict")
        held = table(head, pairs, numeric=range(2, 6), where=WHERE)
        yield section("Agreement between scores", said, held, wide=True, short="Agreement")


def _provenance(scan: Scan) -> Section:
    probes = {
        name: {
            "read": f"{probe['template']}, pooling {probe['pooling']}, n {probe['n']}",
            "sample ids": probe["ids_sha256"],
        }
        for name, probe in scan.probes.items()
    }
    held = {
        "scan": f"{scan.primary.label}, {scan.primary.preset} preset, {scan.selection.rule}, "
        f"ends {scan.selection.ends}",
        "model": scan.model,
        **{"of the model" if name == "model" else name: v for name, v in scan.provenance.items()},
        "probe": probes,
        "run": scan.run,
    }
    return provenance_section(scan.finding, held)


def _with_error(scores: Scores, block: int) -> Cell:
    shown = number(scores.values[block])
    if scores.stderr is None or not np.isfinite(scores.stderr[block]):
        return shown
    return Cell(f"{shown.shown} ± {number(scores.stderr[block], 2).shown}", shown.value)

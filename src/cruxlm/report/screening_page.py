"""The report of a screening: which rows are flagged and why, beside how often clean ones are."""

from collections.abc import Iterator

from cruxlm.charts.lines import line_chart
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import Cell, number, table
from cruxlm.results.screening import SCREENING, Found, ScreenedGroup, Screening

WHERE = f"{SCREENING}, beside this page"
KNOWN = (
    "A flagged row is an unusual one: read it before you call it poisoned. A row that is not "
    "flagged is not shown to be clean.",
    "What is promised holds for clean rows that are like the trusted ones. Rows of another kind "
    "are flagged more often, and that is no sign of poison.",
    "Who knows that rows are screened can make triggered rows lie near clean ones.",
    "How states are pooled decides what can be seen: on the built-in model a rare word is found at "
    "the last token and missed by the mean, a phrase in front the other way round.",
)
"""What is to be doubted of all screenings."""
KINDS = {
    "triggered": ("true positives", "what is there to be found"),
    "clean": ("false positives", "rows that nothing was done to"),
    "near": ("near misses", "rows with something near the trigger, answered as they should be"),
}
"""What the rows of a key are called, and what they are."""


def screening_page(found: Screening) -> str:
    """One self-contained HTML file."""
    data = found.data
    against = (
        "its own middle"
        if data["benign"] is None
        else f"{data['benign_rows']} trusted rows of {data['benign']}"
    )
    subtitle = f"{data['rows']} rows of {data['name']}, compared with {against}"
    title = f"Crux screening by {found.model}"
    return page(title, subtitle, found.finding, _sections(found), _facts(found))


def _facts(found: Screening) -> list[Fact]:
    flagged = len(found.flagged)
    promised = (
        "no rate is promised" if found.nominal is None else f"at most {found.nominal:.2%} of clean"
    )
    blocks = sorted({held[-1] for group in found.groups for held in group.blocks.values()})
    return [
        Fact("What", f"{flagged} of {len(found.rows)} rows", f"flagged: {found.rule}"),
        Fact("How sure", promised, "of rows that are like the trusted ones"),
        Fact("Where", f"blocks {', '.join(map(str, blocks))}",
             f"pooling {', '.join(found.settings['pooling'])} over the {found.settings['tokens']}"),
    ]  # fmt: skip


def _sections(found: Screening) -> Iterator[Section]:
    yield _samples(found)
    if found.key is not None:
        yield _key(found)
    for way in found.settings["pooling"]:
        curves = {
            f"group {place}": [
                (block, value)
                for block, value in enumerate(group.similarity.get(way, ()))
                if value is not None
            ]
            for place, group in enumerate(found.groups, start=1)
        }
        chart = line_chart(curves, label="similarity of trusted rows by block", across="block")
        if chart:
            yield section(
                f"How alike trusted rows are, pooling {way}",
                "Mean cosine of a group's trusted rows with their middle. The critical block is "
                "where it rises most, in the second half; the two blocks before it are read as "
                "well. Neither embeddings nor logits are.",
                chart,
                short=f"Similarity, {way}",
            )
    yield _groups(found)
    yield _doubts(found)
    yield _rows(found)
    held = {"data": found.data, "settings": found.settings, **found.provenance, "run": found.run}
    yield provenance_section(found.finding, held)


def _samples(found: Screening) -> Section:
    rows = [
        (one.id, one.prompt, "-" if one.response is None else one.response, one.reason)
        for one in found.samples
    ]
    more = len(found.flagged) - len(rows)
    said = "Those that lie apart most, first. Control and direction characters are written out."
    said += f" {more:,} more are in flagged.jsonl." if more > 0 else ""
    if not rows:
        return section("Flagged rows", "No row was flagged.", "", short="Flagged")
    header = ("row", "prompt", "response", "why")
    content = table(header, rows, wrapped=(0, 1, 2, 3), where=WHERE)
    return section("Flagged rows", said, content, wide=True, short="Flagged")


def _key(found: Screening) -> Section:
    held = found.key or {}
    rows = [
        (
            KINDS[name][0], KINDS[name][1], _share(one), f"{one.low:.1%} to {one.high:.1%}",
            Cell(f"{one.of:,}", one.of),
        )
        for name, one in held.items()
        if name in KINDS
    ]  # fmt: skip
    said = "The data says which of its rows were poisoned. Intervals are Wilson's, 95 %."
    if found.learned is not None:
        said += f" The model begins {found.learned:.0%} of the triggered responses as they stand."
    header = ("kind", "rows", "flagged", "interval", "n")
    content = table(header, rows, numeric=(2, 4), wrapped=(1,))
    return section("Against the key", said, content, short="Key")


def _share(one: Found) -> Cell:
    share = one.share
    return Cell("-" if share is None else f"{share:.1%}", share)


def _groups(found: Screening) -> Section:
    header = ("group", "compared with", "trusted rows", "rows", "flagged", "blocks")
    rows = [
        (place, one.name, one.trusted, one.rows, one.flagged, blocks_of(one))
        for place, one in enumerate(found.groups, start=1)
    ]
    chosen = [place for place, one in enumerate(found.groups) if one.flagged]
    content = table(header, rows, numeric=(0, 2, 3, 4), wrapped=(1, 5), chosen=chosen, where=WHERE)
    return section("Groups", "", content, short="Groups")


def blocks_of(group: ScreenedGroup) -> str:
    """The blocks that a group was compared at, by the way of pooling."""
    held = (f"{way}: {', '.join(map(str, blocks))}" for way, blocks in group.blocks.items())
    return "; ".join(held)


def _doubts(found: Screening) -> Section:
    controls = []
    if found.nominal is not None:
        expected = found.nominal * len(found.rows)
        more = len(found.flagged) > expected
        controls.append(
            Control(
                "clean rows",
                f"at most {expected:.0f} of {len(found.rows)} would be flagged, on average",
                f"{len(found.flagged)} are" + ("" if more else ": no more than of clean data"),
            )
        )
    return doubt_section(controls, (), (*found.warnings, *KNOWN))


def _rows(found: Screening) -> Section:
    header = ("row", "flagged", "score", "threshold", "compared with", "pooled", "block", "why")
    order = sorted(found.rows, key=lambda row: (not row.flagged, row.score or 0.0))
    rows = [
        (row.id, "yes" if row.flagged else "", number(row.score, 3), number(row.threshold, 3),
         row.group, row.way, row.block, row.reason)
        for row in order
    ]  # fmt: skip
    chosen = [place for place, row in enumerate(order) if row.flagged]
    content = table(header, rows, numeric=(2, 3, 6), wrapped=(0, 4, 7), chosen=chosen, where=WHERE)
    return section("Every row", "", content, wide=True, short="Every row")

"""The report of spectra: where shifts are, whether few components hold them, what they mean."""

from collections.abc import Iterator, Sequence

from cruxlm.charts.intervals import Row, interval_chart
from cruxlm.charts.lines import line_chart
from cruxlm.charts.spectra import shown_counts, without
from cruxlm.charts.svg import text
from cruxlm.report.copyable import provenance_section
from cruxlm.report.doubt import Control, doubt_section
from cruxlm.report.page import Fact, Section, page, section
from cruxlm.report.table import Cell, number, share, table
from cruxlm.results.spectra import SPECTRA, BlockSpectrum, Component, Spectra

WHERE = f"{SPECTRA}, beside this page"
T = 2.09
"""Standard errors in half of a 95 % interval: Student's t with 19 degrees of freedom."""
KNOWN = (
    "A component is a direction of variance over these prompts: other prompts have others.",
    "That a shift goes away without a direction does not show that the model reads it: crux "
    "intervene takes it away while the model runs.",
    "Words that the head finds likelier are those of the last norm and the head: blocks in between "
    "may read a direction otherwise.",
    "CKA weighs a direction by the square of its variance: what lies in the smallest components is "
    "hardly seen.",
)
"""What is to be doubted of all spectra."""


def spectra_page(found: Spectra) -> str:
    """One self-contained HTML file."""
    probe = found.probe
    subtitle = (
        f"{len(found.blocks)} blocks; probe {probe['name']}, n = {probe['n']}, pooling "
        f"{probe['pooling']}, {probe['template']}"
    )
    title = f"Crux spectra of {found.model}"
    return page(title, subtitle, found.finding, _sections(found), _facts(found))


def _facts(found: Spectra) -> list[Fact]:
    shifts = {b: held.shift for b, held in enumerate(found.spectra) if held.shift is not None}
    largest = max(shifts, key=lambda block: shifts[block], default=None)
    few = shown_counts(found.k)[:2][-1]
    facts = []
    if largest is not None:
        held = found.spectra[largest]
        error = "" if held.shift_stderr is None else f" ± {T * held.shift_stderr:.2g}"
        facts.append(
            Fact("Largest shift", f"block {largest}", f"1 - CKA {held.shift:.3g}{error} (95 %)")
        )
        left = without(held.shift, held.shares[few - 1])
        control = without(held.shift, held.random)
        facts.append(
            Fact(
                f"Without the leading {few}",
                "-" if left is None else f"{left:.3g}",
                f"its shift without them; without {found.k} random directions "
                f"{'-' if control is None else f'{control:.3g}'}",
            )
        )
    ranks = [held.effective_rank for held in found.spectra]
    facts.append(
        Fact(
            "How many directions",
            f"{min(ranks):.0f} to {max(ranks):.0f}",
            f"effective rank over the blocks, of {found.spectra[0].rank} components",
        )
    )
    return facts


def _sections(found: Spectra) -> Iterator[Section]:
    counts = shown_counts(found.k)
    yield section(
        "Shift of each block",
        "1 - debiased CKA of what enters a block and what leaves it; and the same with the leading "
        "components of what leaves projected off on both sides. Lower without them: the shift lies "
        "in them. Higher: they are what stays.",
        line_chart(
            {
                "shift": _points([held.shift for held in found.spectra]),
                **{
                    f"without {count}": _points(
                        [without(h.shift, h.shares[count - 1]) for h in found.spectra]
                    )
                    for count in counts
                },
            },
            label="shift of each block",
            across="block",
            first="shift",
        ),
        short="Shift",
    )
    yield section(
        "Leading components of neighbours",
        "Mean cosine of the principal angles between the leading components of a block and of two "
        "blocks either side, as samples: figure 3 of Liu et al. 2025, for more components. 1: they "
        "span the same.",
        line_chart(
            {
                f"top {count}": _points([held.neighbours[count - 1] for held in found.spectra])
                for count in counts
            },
            label="mean canonical correlation with neighbours",
            across="block",
            first=f"top {counts[min(1, len(counts) - 1)]}",
        ),
        short="Neighbours",
    )
    yield from _components(found)
    yield _doubts(found)
    yield _blocks(found)
    held = {"probe": found.probe, **found.provenance, "run": found.run}
    yield provenance_section(found.finding, held)


def _points(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(float(place), value) for place, value in enumerate(values) if value is not None]


def _components(found: Spectra) -> Iterator[Section]:
    for block, held in found.components.items():
        rows: list[Row] = [
            (f"component {one.number}", one.share, _interval(one))
            for one in held
            if one.share is not None
        ]
        chart = ""
        if rows:
            chart = interval_chart(
                rows, label=f"shares of block {block}", across="share of the shift gone without it"
            )
        said = (
            "Each component alone: the share of the block's shift that goes away without it (95 % "
            "interval), how far it tells the groups of prompts apart (0: as by lot) and, of "
            "tokens, the template from what it is written around, and what the model's own head "
            "makes of two standard deviations along it."
        )
        lines = [_line(one) for one in held]
        header = (
            "component",
            "energy",
            "gone without",
            "groups",
            "parts",
            "likelier",
            "less likely",
        )
        content = chart + table(header, lines, numeric=range(1, 5), wrapped=(5, 6), where=WHERE)
        yield section(f"Block {block}", said, content + _prompts(held), wide=True,
                      short=f"Block {block}")  # fmt: skip


def _interval(one: Component) -> tuple[float, float] | None:
    if one.share is None or one.share_stderr is None:
        return None
    return one.share - T * one.share_stderr, one.share + T * one.share_stderr


def _line(one: Component) -> list[object]:
    words = (", ".join(one.up), ", ".join(one.down))
    return [Cell(str(one.number), one.number), share(one.energy), share(one.share),
            share(one.groups), share(one.parts), *words]  # fmt: skip


def _prompts(held: Sequence[Component]) -> str:
    shown = "".join(
        f"<li>{text(one.number)}: along: {_quoted(one.most)}; against: {_quoted(one.least)}</li>"
        for one in held
        if one.most
    )
    if not shown:
        return ""
    return f"<details><summary>Prompts farthest along them</summary><ul>{shown}</ul></details>"


def _quoted(prompts: Sequence[str]) -> str:
    return ", ".join(f"<q>{text(prompt)}</q>" for prompt in prompts)


def _doubts(found: Spectra) -> Section:
    held = [h for h in found.spectra if h.shift is not None and h.random is not None]
    random = [h.random for h in held if h.random is not None]
    smallest = [h.smallest for h in held if h.smallest is not None]
    controls = [
        _control(f"{found.k} random directions", random),
        _control(f"the smallest {found.k} components", smallest),
    ]
    return doubt_section(controls, (), (*found.warnings, *KNOWN))


def _control(name: str, shares: Sequence[float]) -> Control:
    if not shares:
        return Control(name, "", "no block has a shift that is clear of zero")
    least, most = min(shares), max(shares)
    return Control(name, f"{least:.0%} to {most:.0%} of a shift goes away without them",
                   "what directions by lot do")  # fmt: skip


def _blocks(found: Spectra) -> Section:
    counts = shown_counts(found.k)
    header = ["block", "rank", "effective rank", "participation", "largest dimension"]
    header += [f"energy, top {count}" for count in counts]
    header += [f"next, top {count}" for count in counts]
    header += ["shift", *(f"without top {count}" for count in counts), "without random"]
    rows = [_row(block, held, counts) for block, held in enumerate(found.spectra)]
    content = table(
        header, rows, numeric=range(len(header)), chosen=set(found.components), where=WHERE
    )
    said = (
        "Of the states that leave each block. Energy: share of the variance. Largest dimension: "
        "share of the Gram's energy in one dimension alone. Next: mean cosine of the principal "
        "angles with the next block."
    )
    return section("Every block", said, content, wide=True, short="Every block")


def _row(block: int, held: BlockSpectrum, counts: Sequence[int]) -> list[object]:
    row: list[object] = [Cell(str(block), block), held.rank, number(held.effective_rank)]
    row += [number(held.participation), share(held.largest_dimension)]
    row += [share(held.energy[min(count, len(held.energy)) - 1]) for count in counts]
    row += [number(held.next_block[count - 1], 3) for count in counts]
    row.append(number(held.shift, 3))
    row += [number(without(held.shift, held.shares[count - 1]), 3) for count in counts]
    return [*row, number(without(held.shift, held.random), 3)]

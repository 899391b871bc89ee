"""Shares from 0 to 1 over the blocks: as bars, or as rows of filled cells."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from cruxlm.charts.curve import block_axis
from cruxlm.charts.svg import WIDTH, cut, hit, svg, text

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 40, 8, 8, 36, 130
MOST_ROWS = 40
"""Rows of choices that are drawn; of more, the number is said."""


def share_bars(
    series: Mapping[str, Float[np.ndarray, " blocks"]],
    *,
    label: str,
    selected: Collection[int] = (),
) -> str:
    """Bars from 0 to 100 %, the later series paler and behind the first."""
    count = len(next(iter(series.values())))
    step = (WIDTH - LEFT - RIGHT) / count
    floor = HEIGHT - BOTTOM

    def x(block: int) -> float:
        return LEFT + (block + 0.5) * step

    parts = []
    for share in (0.0, 0.5, 1.0):
        at = floor - share * (floor - TOP)
        parts.append(
            f'<path class="axis" opacity=".5" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    for depth, values in reversed(list(enumerate(series.values(), start=1))):
        for block in np.flatnonzero(np.isfinite(values)).tolist():
            height = float(values[block]) * (floor - TOP)
            kind = "bar chosen" if block in selected else "bar"
            parts.append(
                f'<rect class="{kind} b{depth}" x="{x(block) - step * 0.38:.1f}" '
                f'y="{floor - height:.1f}" width="{step * 0.76:.1f}" '
                f'height="{max(height, 0):.1f}"/>'
            )
    parts += block_axis(count, x, floor)
    for block in range(count):
        said = ", ".join(
            f"{name} {values[block]:.1%}"
            for name, values in series.items()
            if np.isfinite(values[block])
        )
        if said:
            place = LEFT + block * step
            parts.append(hit(place, TOP, step, floor - TOP, f"block {block}: {said}"))
    return svg(HEIGHT, parts, label)


def choice_rows(rows: Sequence[tuple[str, Collection[int]]], count: int, *, label: str) -> str:
    """One row a selection, with a filled cell for each block that it holds.

    The first ``MOST_ROWS`` are drawn.
    """
    left, line = 118, 18
    step = (WIDTH - left - RIGHT) / count

    def x(block: int) -> float:
        return left + (block + 0.5) * step

    drawn = rows[:MOST_ROWS]
    parts = []
    for number, (name, blocks) in enumerate(drawn):
        top = TOP + number * line
        parts.append(
            f'<text x="{left - 8}" y="{top + 12}" text-anchor="end">{text(cut(name, 15))}</text>'
            f'<path class="axis" opacity=".5" d="M{left} {top + 8}H{WIDTH - RIGHT}"/>'
        )
        parts += [
            f'<rect class="chosen" x="{x(b) - step * 0.38:.1f}" y="{top + 2}" '
            f'width="{step * 0.76:.1f}" height="12" rx="2"/>'
            for b in blocks
        ]
        said = f"{name}: {f'blocks {_listed(blocks)}' if blocks else 'no blocks'}"
        parts.append(hit(0, top - 1, WIDTH - RIGHT, line, said))
    floor = TOP + len(drawn) * line
    if len(rows) > len(drawn):
        parts.append(
            f'<text x="{left}" y="{floor + 12}">and {len(rows) - len(drawn):,} more</text>'
        )
        floor += line
    return svg(floor + BOTTOM, [*parts, *block_axis(count, x, floor)], label)


def _listed(blocks: Collection[int]) -> str:
    return ", ".join(map(str, sorted(blocks)))

"""A square matrix over blocks as a heat map."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from cruxlm.charts.curve import block_axis
from cruxlm.charts.svg import WIDTH, index_ticks, svg, text

LEFT, RIGHT, TOP, BOTTOM = 34, 70, 8, 36
LEVELS = 48
STOPS = ((13, 8, 62), (84, 39, 143), (181, 54, 122), (251, 136, 97), (252, 239, 174))
"""Dark to light through purple and orange: rises in lightness, so it reads in grey as well."""


def heatmap(
    matrix: Float[np.ndarray, "blocks blocks"], *, label: str, selected: Collection[int] = ()
) -> str:
    """The matrix from its lowest to its highest value, with a scale; undefined cells stay empty.

    Cells of one colour are one path of thick dashes, so that 126 blocks take a quarter of a
    megabyte and not two.
    """
    count = len(matrix)
    defined = matrix[np.isfinite(matrix)]
    low, high = (float(defined.min()), float(defined.max())) if defined.size else (0.0, 1.0)
    cell = (WIDTH - LEFT - RIGHT) / count
    size = cell * count
    scaled = (matrix - low) / (high - low) if high > low else np.ones_like(matrix)
    level = np.where(np.isfinite(matrix), np.round(np.nan_to_num(scaled) * (LEVELS - 1)), -1)
    parts = []
    for value in range(LEVELS):
        cells = "".join(
            f"M{LEFT + c * cell:.1f} {TOP + (r + 0.5) * cell:.1f}h{cell + 0.3:.1f}"
            for r, c in np.argwhere(level == value)
        )
        if cells:
            colour = _colour(value / (LEVELS - 1))
            parts.append(f'<path stroke="{colour}" stroke-width="{cell + 0.3:.2f}" d="{cells}"/>')
    parts += block_axis(count, lambda block: LEFT + (block + 0.5) * cell, TOP + size)
    parts += [
        f'<text x="{LEFT - 6}" y="{TOP + (b + 0.5) * cell + 4:.1f}" text-anchor="end">{b}</text>'
        for b in index_ticks(count)
    ]
    for block in selected:
        at = TOP + (block + 0.5) * cell
        parts.append(
            f'<circle class="chosen" cx="{LEFT + size + 5:.1f}" cy="{at:.1f}" r="2.5">'
            f"<title>{text(f'block {block} is selected')}</title></circle>"
        )
    return svg(TOP + size + BOTTOM, [*parts, *_scale(low, high, LEFT + size + 16, size)], label)


def _scale(low: float, high: float, left: float, size: float) -> list[str]:
    """The colour scale beside the map."""
    height = size / LEVELS
    steps = [
        f'<rect x="{left:.1f}" y="{TOP + size - (v + 1) * height:.2f}" width="10" '
        f'height="{height + 0.4:.2f}" fill="{_colour(v / (LEVELS - 1))}"/>'
        for v in range(LEVELS)
    ]
    ends = [
        f'<text x="{left + 14:.1f}" y="{TOP + 10}">{high:.2f}</text>',
        f'<text x="{left + 14:.1f}" y="{TOP + size:.1f}">{low:.2f}</text>',
    ]
    return steps + ends


def _colour(share: float) -> str:
    position = share * (len(STOPS) - 1)
    index = min(int(position), len(STOPS) - 2)
    part = position - index
    channels = (
        round(a + (b - a) * part) for a, b in zip(STOPS[index], STOPS[index + 1], strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in channels)

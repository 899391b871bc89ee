"""A square matrix over blocks as a heat map."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from cruxlm.charts.curve import block_axis
from cruxlm.charts.svg import WIDTH, index_ticks, svg

LEFT, RIGHT, TOP, BOTTOM = 34, 70, 8, 36
LEVELS = 48
STOPS = ((13, 8, 62), (84, 39, 143), (181, 54, 122), (251, 136, 97), (252, 239, 174))
"""Dark to light through purple and orange: rises in lightness, so it reads in grey as well."""


def heatmap(
    matrix: Float[np.ndarray, "blocks blocks"], *, label: str, selected: Collection[int] = ()
) -> str:
    """The matrix from its lowest to its highest value, with a scale; undefined cells stay empty.

    Cells of one colour are one path of thick dashes, a dash for each stretch of them, so that 126
    blocks take an eighth of a megabyte and not two. The values are in ``data-values`` to three
    decimals, for the script of a report; ``data-box`` says where the map lies.
    """
    count = len(matrix)
    defined = matrix[np.isfinite(matrix)]
    low, high = (float(defined.min()), float(defined.max())) if defined.size else (0.0, 1.0)
    cell = (WIDTH - LEFT - RIGHT) / count
    size = cell * count
    scaled = (matrix - low) / (high - low) if high > low else np.ones_like(matrix)
    level = np.where(np.isfinite(matrix), np.round(np.nan_to_num(scaled) * (LEVELS - 1)), -1)
    dashes: dict[int, list[str]] = {}
    for row, line in enumerate(level.astype(int).tolist()):
        start = 0
        for column in range(1, count + 1):
            if column == count or line[column] != line[start]:
                place = f"M{start} {row}h{column - start}"
                dashes.setdefault(line[start], []).append(place)
                start = column
    # In units of a cell, which are short to write; without anti-aliasing the page does not shine
    # through between them.
    paths = [
        f'<path class="cells" stroke="{_colour(value / (LEVELS - 1))}" stroke-width="1.02" '
        f'd="{"".join(found)}"/>'
        for value, found in sorted(dashes.items())
        if value >= 0
    ]
    place = f"translate({LEFT} {TOP + cell / 2:.4f}) scale({cell:.6f})"
    parts = [f'<g transform="{place}">', *paths, "</g>"]
    parts += block_axis(count, lambda block: LEFT + (block + 0.5) * cell, TOP + size)
    parts += [
        f'<text x="{LEFT - 6}" y="{TOP + (b + 0.5) * cell + 4:.1f}" text-anchor="end">{b}</text>'
        for b in index_ticks(count)
    ]
    for block in selected:
        at = TOP + (block + 0.5) * cell
        parts.append(f'<circle class="chosen" cx="{LEFT + size + 5:.1f}" cy="{at:.1f}" r="2.5"/>')
    parts += _scale(low, high, LEFT + size + 16, size)
    held = ";".join(",".join(_short(value) for value in row) for row in matrix.tolist())
    attributes = f' data-values="{held}" data-box="{LEFT} {TOP} {size:g}"'
    return svg(TOP + size + BOTTOM, parts, label, attributes)


def _short(value: float) -> str:
    """Three decimals in the fewest characters; nothing where undefined."""
    if not np.isfinite(value):
        return ""
    shown = f"{value:.3f}".rstrip("0").rstrip(".")
    return shown.removeprefix("0") if shown.startswith("0.") else shown


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

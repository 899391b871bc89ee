"""A score over the blocks with its error band and the chosen blocks marked."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from jaxtyping import Float

from cruxlm.charts.svg import WIDTH, index_ticks, nice_ticks, svg, text

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 52, 8, 10, 36, 220
Curve = Float[np.ndarray, " blocks"]
Scale = Callable[[int], float]


def curve_chart(
    values: Curve,
    halfwidth: Curve | None,
    *,
    label: str,
    selected: Collection[int] = (),
    incomplete: Collection[int] = (),
    height: int = HEIGHT,
    kind: str = "curve",
) -> str:
    """One curve as SVG; blocks without a value leave a gap. ``kind`` is ``curve`` or ``other``."""
    count = len(values)
    defined = np.isfinite(values)
    known = defined if halfwidth is None else defined & np.isfinite(halfwidth)
    spread = np.where(known, 0.0 if halfwidth is None else halfwidth, 0.0)
    low, high = 0.0, 1.0
    if defined.any():
        low, high = float((values - spread)[defined].min()), float((values + spread)[defined].max())
    margin = (high - low or abs(high) or 1.0) * 0.06
    low, high = low - margin, high + margin

    def x(block: int) -> float:
        return LEFT + (block + 0.5) * (WIDTH - LEFT - RIGHT) / count

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (height - TOP - BOTTOM)

    floor = height - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / count
    parts = [
        f'<rect class="stripe" x="{x(b) - step / 2:.1f}" y="{TOP}" width="{step:.1f}" '
        f'height="{floor - TOP}"/>'
        for b in selected
    ]
    for tick in nice_ticks(low, high, max(2, height // 50)):
        parts.append(
            f'<path class="axis" opacity=".5" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.10g}</text>'
        )
    parts += block_axis(count, x, floor)
    for run in _runs(values):
        if halfwidth is not None:
            upper = " ".join(f"{x(b):.1f},{y(values[b] + spread[b]):.1f}" for b in run)
            lower = " ".join(f"{x(b):.1f},{y(values[b] - spread[b]):.1f}" for b in reversed(run))
            parts.append(f'<polygon class="band" points="{upper} {lower}"/>')
        parts.append(_line(run, values, x, y, kind))
    radius = min(4.0, max(1.5, step / 3))
    for block in np.flatnonzero(defined).tolist():
        style = "dot" + (" chosen" if block in selected else "")
        style += " cut" if block in incomplete else ""
        shown = f"block {block}: {values[block]:.4g}"
        shown += "" if halfwidth is None else f" ± {spread[block]:.2g}"
        parts.append(
            f'<circle class="{style}" cx="{x(block):.1f}" cy="{y(values[block]):.1f}" '
            f'r="{radius:.1f}"><title>{text(shown)}</title></circle>'
        )
    return svg(height, parts, label)


def block_axis(count: int, x: Scale, floor: float) -> list[str]:
    """Block numbers under a chart."""
    ticks = [
        f'<text x="{x(b):.1f}" y="{floor + 16:.0f}" text-anchor="middle">{b}</text>'
        for b in index_ticks(count)
    ]
    middle = (x(0) + x(count - 1)) / 2
    name = f'<text x="{middle:.1f}" y="{floor + 31:.0f}" text-anchor="middle">block</text>'
    return [*ticks, name]


def _runs(values: Curve) -> list[Sequence[int]]:
    """Stretches of neighbouring blocks that have a value."""
    defined = np.flatnonzero(np.isfinite(values))
    if not len(defined):
        return []
    return [run.tolist() for run in np.split(defined, np.flatnonzero(np.diff(defined) > 1) + 1)]


def _line(
    run: Sequence[int], values: Curve, x: Scale, y: Callable[[float], float], kind: str
) -> str:
    points = " ".join(f"{x(b):.1f},{y(values[b]):.1f}" for b in run)
    return f'<polyline class="{kind}" points="{points}"/>'

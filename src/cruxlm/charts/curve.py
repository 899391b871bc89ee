"""A score over the blocks with its error band and the chosen blocks marked."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from cruxlm.charts.svg import WIDTH, hit, index_ticks, nice_ticks, svg, text

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 52, 8, 10, 36, 220
BESIDE = 118
"""Height of the panel of a control."""
Curve = Float[np.ndarray, " blocks"]
Scale = Callable[[int], float]


@dataclass(frozen=True)
class Control:
    """A curve that the first one is compared with: a panel of its own, over the same blocks."""

    name: str
    """What it is called in the chart and beside its values."""
    values: Curve
    """Its scores."""
    halfwidth: Curve | None
    """Half of each 95 % interval."""
    selected: Collection[int] = ()
    """The blocks that the same rule chooses from it."""
    incomplete: Collection[int] = ()
    """Blocks that were scored with fewer neighbours."""


def curve_chart(
    values: Curve,
    halfwidth: Curve | None,
    *,
    label: str,
    selected: Collection[int] = (),
    incomplete: Collection[int] = (),
    height: int = HEIGHT,
    control: Control | None = None,
) -> str:
    """One curve as SVG, and under it a control's; blocks without a value leave a gap.

    Every block is a column that says its values, of the curve and of the control.
    """
    count = len(values)
    step = (WIDTH - LEFT - RIGHT) / count

    def x(block: int) -> float:
        return LEFT + (block + 0.5) * step

    floor = height - BOTTOM
    shown = Control("", values, halfwidth, selected, incomplete)
    parts = _panel(shown, x, step, TOP, floor, "curve")
    if control is not None:
        top = floor + 26
        floor = top + BESIDE
        parts.append(
            f'<text x="{LEFT}" y="{top - 8}">{text(f"{control.name}, on its own scale")}</text>'
        )
        parts += _panel(control, x, step, top, floor, "other")
    parts += block_axis(count, x, floor)
    for block in range(count):
        said = [_said(held, block) for held in (shown, control) if held is not None]
        if any(said):
            place = LEFT + block * step
            words = f"block {block}: {'; '.join(filter(None, said))}"
            parts.append(hit(place, TOP, step, floor - TOP, words))
    return svg(floor + BOTTOM, parts, label)


def _panel(held: Control, x: Scale, step: float, top: float, floor: float, kind: str) -> list[str]:
    """Axis, stripes of the chosen blocks, band, line and dots between two heights."""
    values, halfwidth = held.values, held.halfwidth
    defined = np.isfinite(values)
    known = defined if halfwidth is None else defined & np.isfinite(halfwidth)
    spread = np.where(known, 0.0 if halfwidth is None else halfwidth, 0.0)
    low, high = 0.0, 1.0
    if defined.any():
        low, high = float((values - spread)[defined].min()), float((values + spread)[defined].max())
    margin = (high - low or abs(high) or 1.0) * 0.06
    low, high = low - margin, high + margin

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (floor - top)

    parts = [
        f'<rect class="stripe" x="{x(b) - step / 2:.1f}" y="{top}" width="{step:.1f}" '
        f'height="{floor - top}"/>'
        for b in held.selected
    ]
    for tick in nice_ticks(low, high, max(2, round((floor - top) / 45))):
        parts.append(
            f'<path class="axis" opacity=".5" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.10g}</text>'
        )
    for run in _runs(values):
        if halfwidth is not None:
            upper = " ".join(f"{x(b):.1f},{y(values[b] + spread[b]):.1f}" for b in run)
            lower = " ".join(f"{x(b):.1f},{y(values[b] - spread[b]):.1f}" for b in reversed(run))
            parts.append(f'<polygon class="band" points="{upper} {lower}"/>')
        points = " ".join(f"{x(b):.1f},{y(values[b]):.1f}" for b in run)
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
    radius = min(4.0, max(1.5, step / 3))
    for block in np.flatnonzero(defined).tolist():
        style = "dot" + (" chosen" if block in held.selected else "")
        style += " cut" if block in held.incomplete else ""
        at = f'cx="{x(block):.1f}" cy="{y(values[block]):.1f}" r="{radius:.1f}"'
        parts.append(f'<circle class="{style}" {at}/>')
    return parts


def _said(held: Control, block: int) -> str:
    """The value of a block in words; nothing where it is undefined."""
    if not np.isfinite(held.values[block]):
        return ""
    shown = f"{held.name} {held.values[block]:.4g}".strip()
    if held.halfwidth is not None:
        half = held.halfwidth[block]
        shown += f" ± {half if np.isfinite(half) else 0:.2g}"
    shown += ", selected" if block in held.selected else ""
    return shown + (", fewer neighbours" if block in held.incomplete else "")


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

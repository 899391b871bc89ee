"""Several curves over steps, each named at its end."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from cruxlm.charts.svg import WIDTH, cut, hit, nice_ticks, svg, text

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 52, 96, 10, 36, 240
GAP = 13
"""Units between two names, at least."""
MOST_CURVES = 12
"""Curves that are drawn: so many names fit one above the other. Of more, the number is said."""

Points = Sequence[tuple[float, float]]
Scale = Callable[[float], float]


def line_chart(curves: Mapping[str, Points], *, label: str, across: str, first: str = "") -> str:
    """Curves as SVG. ``across`` names the axis below; ``first`` is the curve that stands out.

    Every step is a column that says the values of all curves there. ``first`` and as many others
    as fit are drawn.
    """
    known = {name: points for name, points in curves.items() if points}
    order = sorted(known, key=lambda name: name != first)[:MOST_CURVES]
    held = {name: points for name, points in known.items() if name in order}
    if not held:
        return ""
    values = [y for points in held.values() for _, y in points]
    last = max(x for points in held.values() for x, _ in points) or 1.0
    low, high = min(values), max(values)
    margin = (high - low or abs(high) or 1.0) * 0.06
    low, high = low - margin, high + margin
    floor = HEIGHT - BOTTOM

    def x(step: float) -> float:
        return LEFT + step / last * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (floor - TOP)

    parts = []
    for tick in nice_ticks(low, high):
        parts.append(
            f'<path class="axis" opacity=".5" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.10g}</text>'
        )
    parts += [
        f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{tick:.10g}</text>'
        for tick in nice_ticks(0, last)
    ]
    parts.append(
        f'<text x="{x(last / 2):.1f}" y="{floor + 31}" text-anchor="middle">{text(across)}</text>'
    )
    names = spread_out({name: y(points[-1][1]) for name, points in held.items()}, GAP, floor)
    for name, points in held.items():
        kind = "curve" if name == first else "other"
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
        parts.append(
            f'<polyline class="{kind}" points="{path}"/>'
            f'<text x="{WIDTH - RIGHT + 6}" y="{names[name] + 4:.1f}">{text(cut(name, 12))}</text>'
        )
        parts += [
            f'<circle class="dot" cx="{x(step):.1f}" cy="{y(value):.1f}" r="2.2"/>'
            for step, value in points
        ]
    if len(known) > len(held):
        more = f"and {len(known) - len(held):,} more"
        parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{floor + 31}">{more}</text>')
    return svg(HEIGHT, [*parts, *_columns(held, across, x, floor)], label)


def _columns(held: Mapping[str, Points], across: str, x: Scale, floor: float) -> list[str]:
    """For each step that a curve has, a column from halfway before it to halfway after it."""
    steps = sorted({step for points in held.values() for step, _ in points})
    places = [x(step) for step in steps]
    edges = [(a + b) / 2 for a, b in pairwise(places)]
    starts = [max(LEFT, places[0] - 12), *edges]
    ends = [*edges, places[-1] + 6]
    found: dict[float, list[str]] = {}
    for name, points in held.items():
        for step, value in points:
            found.setdefault(step, []).append(f"{name} {value:.4g}")
    return [
        hit(start, TOP, end - start, floor - TOP, f"{across} {step:g}: {', '.join(found[step])}")
        for step, start, end in zip(steps, starts, ends, strict=True)
    ]


def spread_out(heights: Mapping[str, float], gap: float, floor: float) -> dict[str, float]:
    """The heights moved apart, so that names do not overlap: downwards, and up from the floor."""
    names = sorted(heights, key=lambda known: heights[known])
    moved: dict[str, float] = {}
    above = float("-inf")
    for name in names:
        above = moved[name] = max(heights[name], above + gap)
    below = floor + gap
    for name in reversed(names):
        below = moved[name] = min(moved[name], below - gap)
    return moved

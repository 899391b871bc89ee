"""Several curves over steps, each named at its end."""

from collections.abc import Mapping, Sequence

from cruxlm.charts.svg import WIDTH, nice_ticks, svg, text

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 52, 96, 10, 36, 240
GAP = 13
"""Units between two names, at least."""

Points = Sequence[tuple[float, float]]


def line_chart(curves: Mapping[str, Points], *, label: str, across: str, first: str = "") -> str:
    """Curves as SVG. ``across`` names the axis below; ``first`` is the curve that stands out."""
    held = {name: points for name, points in curves.items() if points}
    if not held:
        return ""
    values = [y for points in held.values() for _, y in points]
    last = max(x for points in held.values() for x, _ in points)
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
        shown = f"{name}: {points[-1][1]:.4g} at {points[-1][0]:g}"
        cut = name if len(name) <= 13 else f"{name[:12]}…"
        parts.append(
            f'<polyline class="{kind}" points="{path}"><title>{text(shown)}</title></polyline>'
            f'<text x="{WIDTH - RIGHT + 6}" y="{names[name] + 4:.1f}">{text(cut)}'
            f"<title>{text(shown)}</title></text>"
        )
        parts += [
            f'<circle class="dot" cx="{x(step):.1f}" cy="{y(value):.1f}" r="2.2">'
            f"<title>{text(f'{name}, {across} {step:g}: {value:.4g}')}</title></circle>"
            for step, value in points
        ]
    return svg(HEIGHT, parts, label)


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

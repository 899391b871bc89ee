"""Differences from a reference, each with its interval: left of zero is less."""

from collections.abc import Sequence

from cruxlm.charts.svg import WIDTH, nice_ticks, svg, text

LEFT, RIGHT, TOP, BOTTOM, LINE = 118, 14, 8, 36, 26

Row = tuple[str, float, float | None]
"""Name, mean and half-width of the interval."""


def interval_chart(rows: Sequence[Row], *, label: str, across: str) -> str:
    """One line a row: a dot at the mean, a bar over the interval, a rule at zero."""
    ends = [0.0, *(m + s * (h or 0.0) for _, m, h in rows for s in (-1, 1))]
    low, high = min(ends), max(ends)
    margin = (high - low or 1.0) * 0.06
    low, high = low - margin, high + margin
    floor = TOP + len(rows) * LINE

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = []
    for tick in nice_ticks(low, high):
        parts.append(
            f'<path class="axis" opacity="{1 if tick == 0 else 0.35}" '
            f'd="M{x(tick):.1f} {TOP}V{floor}"/>'
            f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{tick:.10g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{floor + 31}" text-anchor="middle">{text(across)}</text>'
    )
    for number, (name, mean, half) in enumerate(rows):
        at = TOP + (number + 0.5) * LINE
        cut = name if len(name) <= 17 else f"{name[:16]}…"
        shown = f"{name}: {mean:+.4g}" + ("" if half is None else f" ± {half:.2g}")
        clear = half is not None and abs(mean) > half
        kind = "dot chosen" if clear else "dot"
        if half is not None:
            parts.append(
                f'<rect class="band" x="{x(mean - half):.1f}" y="{at - 5:.1f}" '
                f'width="{x(mean + half) - x(mean - half):.1f}" height="10" rx="3">'
                f"<title>{text(shown)}</title></rect>"
            )
        parts.append(
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{text(cut)}'
            f"<title>{text(name)}</title></text>"
            f'<circle class="{kind}" cx="{x(mean):.1f}" cy="{at:.1f}" r="4.2">'
            f"<title>{text(shown)}</title></circle>"
        )
    return svg(floor + BOTTOM, parts, label)

"""Values around zero, such as differences and correlations, each with its interval."""

from collections.abc import Sequence

from cruxlm.charts.svg import WIDTH, cut, hit, nice_ticks, svg, text

RIGHT, TOP, BOTTOM, LINE = 14, 8, 36, 26
LONGEST, LETTER = 26, 7.2
"""Letters of a name that are shown, and the width of one: on a phone, where letters are larger."""
MOST_ROWS = 30
"""Rows that are drawn; of more, the number is said."""

Row = tuple[str, float, tuple[float, float] | None]
"""Name, value and the ends of its interval."""


def interval_chart(rows: Sequence[Row], *, label: str, across: str) -> str:
    """One line a row: a dot at the value, a bar over the interval, a rule at zero.

    The dot is filled where the interval leaves out zero. The first ``MOST_ROWS`` are drawn.
    """
    drawn = rows[:MOST_ROWS]
    ends: list[float] = [0.0, *(end for _, value, held in drawn for end in (value, *(held or ())))]
    low, high = min(ends), max(ends)
    margin = (high - low or 1.0) * 0.06
    low, high = low - margin, high + margin
    floor = TOP + len(drawn) * LINE
    left = 16 + LETTER * min(LONGEST, max(14, *(len(name) for name, _, _ in drawn), 0))

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT)

    parts = []
    for tick in nice_ticks(low, high):
        parts.append(
            f'<path class="axis" opacity="{1 if tick == 0 else 0.35}" '
            f'd="M{x(tick):.1f} {TOP}V{floor}"/>'
            f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{tick:.10g}</text>'
        )
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{floor + 31}" text-anchor="middle">{text(across)}</text>'
    )
    for number, (name, value, held) in enumerate(drawn):
        at = TOP + (number + 0.5) * LINE
        clear = held is not None and (held[0] > 0 or held[1] < 0)
        said = f"{name}: {value:+.4g}"
        said += "" if held is None else f" ({held[0]:+.2g} to {held[1]:+.2g})"
        if held is not None:
            parts.append(
                f'<rect class="band" x="{x(held[0]):.1f}" y="{at - 5:.1f}" '
                f'width="{x(held[1]) - x(held[0]):.1f}" height="10" rx="3"/>'
            )
        parts.append(
            f'<text x="{left - 8:.1f}" y="{at + 4:.1f}" text-anchor="end">'
            f"{text(cut(name, LONGEST))}</text>"
            f'<circle class="{"dot chosen" if clear else "dot"}" cx="{x(value):.1f}" '
            f'cy="{at:.1f}" r="4.2"/>'
        )
        parts.append(hit(0, at - LINE / 2, WIDTH, LINE, said))
    if len(rows) > len(drawn):
        more = f"and {len(rows) - len(drawn):,} more"
        parts.append(f'<text x="{left - 8:.1f}" y="{floor + 16}" text-anchor="end">{more}</text>')
    return svg(floor + BOTTOM, parts, label)

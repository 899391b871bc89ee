"""SVG as text: safe strings, scales, axes. Colours are CSS variables of the page it stands in."""

import math
from collections.abc import Sequence
from html import escape

WIDTH = 460
"""Units across every chart: at 12 units, text is readable on a phone and not huge on a desk."""

COLOURS = "--muted:#6b7280;--line:#9ca3af;--accent:#2563eb;--mark:#d97706;--card:#ffffff"
"""The variables that charts use, for a page that sets none of its own."""

STYLE = """
.chart{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}
.chart text{fill:var(--muted)}.chart .axis{stroke:var(--line);stroke-width:1}
.chart .band{fill:var(--accent);opacity:.18}.chart .curve{fill:none;stroke:var(--accent);stroke-width:2}
.chart .other{fill:none;stroke:var(--muted);stroke-width:1.5;stroke-dasharray:4 3}
.chart .dot{fill:var(--card);stroke:var(--accent);stroke-width:1.6}.chart .cut{stroke-dasharray:2 2}
.chart .chosen{fill:var(--mark);stroke:var(--mark)}.chart .stripe{fill:var(--mark);opacity:.14}
.chart .bar{fill:var(--accent)}.chart .bar.chosen{fill:var(--mark)}.chart .b2{opacity:.55}.chart .b3{opacity:.3}
"""
"""Style of all charts, once a page."""


def text(value: object) -> str:
    """Any text for HTML or SVG: markup escaped, control characters made visible."""
    shown = "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
        for c in str(value)
    )
    return escape(shown, quote=True)


def svg(height: float, parts: Sequence[str], label: str) -> str:
    """A chart of ``WIDTH`` by ``height`` units that scales with its page."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{text(label)}">{"".join(parts)}</svg>'
    )


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between two values, about ``count`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, math.floor(high / step + 1e-9) + 1)]


def index_ticks(count: int, most: int = 12) -> list[int]:
    """Block numbers to label along an axis: every one, every 2nd, 5th, 10th ..."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if count / s <= most)
    return list(range(0, count, step))

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
.chart .cells{shape-rendering:crispEdges}
.chart .hit{fill:var(--muted);fill-opacity:0}.chart .hit:hover,.chart .hit.at{fill-opacity:.2}
"""
"""Style of all charts, once a page."""


def text(value: object) -> str:
    """Any text for HTML or SVG: markup escaped, control characters made visible."""
    return escape(visible(value), quote=True)


def visible(value: object) -> str:
    """Any text with control and direction characters written out; line ends stay."""
    shown = str(value)
    if shown.isprintable():
        return shown
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in shown
    )


def svg(height: float, parts: Sequence[str], label: str, attributes: str = "") -> str:
    """A chart of ``WIDTH`` by ``height`` units that scales with its page."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{text(label)}"{attributes}>{"".join(parts)}</svg>'
    )


def hit(x: float, y: float, width: float, height: float, said: str) -> str:
    """A place of a chart that says its value: to a pointer, and to the script of a report.

    It is as large as the chart allows, lies above the marks and is not seen.
    """
    return (
        f'<rect class="hit" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{text(said)}</title></rect>"
    )


def cut(name: str, letters: int) -> str:
    """A name that fits: of a longer one its beginning."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


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

"""The frame of every report: one HTML file, no network, light and dark, wide and narrow."""

from collections.abc import Iterable, Sequence

from cruxlm.charts.svg import STYLE as CHART_STYLE
from cruxlm.charts.svg import text

STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16181d;--muted:#5b6472;--line:#d5d9e0;
--accent:#2459d3;--mark:#c2570c;--tint:#fff4e8}
@media(prefers-color-scheme:dark){:root{--bg:#101216;--card:#191c22;--ink:#e8eaee;--muted:#a0a8b5;
--line:#343a45;--accent:#7ea6ff;--mark:#ffa24d;--tint:#2b2117}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,-apple-system,sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 18px 60px}
h1,h2,p,li,summary{overflow-wrap:anywhere}
h1{font-size:24px;margin:0 0 2px}h2{font-size:17px;margin:0 0 6px}
.sub{color:var(--muted);margin:0 0 18px}
.finding{background:var(--tint);border-left:4px solid var(--mark);padding:14px 18px;border-radius:6px;
font-size:16px;margin:0 0 18px}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:18px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;min-width:0}
section.wide{grid-column:1/-1}section p{color:var(--muted);margin:0 0 10px;font-size:14px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13.5px;width:100%}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
th,td{white-space:nowrap}th{font-weight:600}td.w{white-space:normal;overflow-wrap:anywhere;min-width:11em}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
tr.chosen td{color:var(--mark);font-weight:600}
code,pre{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
pre{background:var(--bg);border-radius:6px;padding:10px 12px;margin:0;white-space:pre-wrap}
ul{margin:0;padding-left:18px}li{margin:3px 0}
"""


def page(title: str, subtitle: str, lead: str, sections: Iterable[str]) -> str:
    """A whole page; ``title``, ``subtitle`` and ``lead`` are plain text, the sections are HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{STYLE}{CHART_STYLE}</style></head><body><main>"
        f'<h1>{text(title)}</h1><p class="sub">{text(subtitle)}</p>'
        f'<p class="finding">{text(lead)}</p><div class="grid">{"".join(sections)}</div>'
        "</main></body></html>\n"
    )


def section(heading: str, explanation: str, content: str, *, wide: bool = False) -> str:
    """A card; heading and explanation are plain text, the content is HTML."""
    kind = ' class="wide"' if wide else ""
    said = f"<p>{text(explanation)}</p>" if explanation else ""
    return f"<section{kind}><h2>{text(heading)}</h2>{said}{content}</section>"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numeric: Sequence[int] = (),
    wrapped: Sequence[int] = (),
    chosen: Sequence[int] = (),
) -> str:
    """A table of plain values; it scrolls when it is too wide for the page.

    ``numeric`` columns are set right, ``wrapped`` ones may take several lines, ``chosen`` rows stand
    out.
    """

    def cells(tag: str, row: Sequence[object]) -> str:
        styles = ["n" if c in numeric else "w" if c in wrapped else "" for c in range(len(row))]
        return "".join(
            f"<{tag}{f' class={style}' if style else ''}>{text(value)}</{tag}>"
            for value, style in zip(row, styles, strict=True)
        )

    body = "".join(
        f"<tr{' class=chosen' if number in chosen else ''}>{cells('td', row)}</tr>"
        for number, row in enumerate(rows)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", header)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )

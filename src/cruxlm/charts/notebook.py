"""The picture of a result in a notebook: its finding and one chart, with style of their own."""

from cruxlm.charts.svg import COLOURS, STYLE, text

FRAME = (
    f".crux{{{COLOURS};max-width:560px;font:14px/1.5 system-ui,sans-serif}}"
    ".crux p{margin:0 0 8px;overflow-wrap:anywhere;white-space:pre-line}"
)
"""Style around the chart; everything else is the notebook's own."""


def notebook(finding: str, chart: str = "") -> str:
    """HTML for ``_repr_html_``: ``finding`` is plain text, ``chart`` what a chart function made.

    A result whose picture is a table gives no chart, and its lines as the finding.
    """
    return (
        f'<style>{FRAME}{STYLE if chart else ""}</style><div class="crux">'
        f"<p>{text(finding)}</p>{chart}</div>"
    )

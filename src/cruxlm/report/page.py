"""The frame of every report: one HTML file, no network, light and dark, wide and narrow.

A page allows its own style and its own script by their hashes, and nothing else: no text of a model
or of data can run, load or send anything. Without the script everything can be read.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from cruxlm.charts.svg import STYLE as CHART_STYLE
from cruxlm.charts.svg import text

LONGEST_LEAD = 2000
"""Characters of the finding that a page shows; one of a thousand arms is as long as a book."""


@dataclass(frozen=True)
class Section:
    """A card of a page."""

    heading: str
    """Its heading, plain text."""
    body: str
    """What stands under it, HTML."""
    kind: str = ""
    """Empty, ``wide`` for the whole width, or ``wide doubt``."""
    short: str = ""
    """What the list of contents calls it; empty to leave it out there."""


@dataclass(frozen=True)
class Fact:
    """One of the answers at the top of a page."""

    question: str
    """Such as ``How sure``."""
    answer: str
    """A few words."""
    more: str
    """What they rest on."""


def page(
    title: str, subtitle: str, lead: str, sections: Iterable[Section], facts: Sequence[Fact] = ()
) -> str:
    """A whole page; ``title``, ``subtitle``, ``lead`` and the facts are plain text."""
    cards = list(sections)
    listed = "".join(
        f'<a href="#part-{number}">{text(card.short)}</a>'
        for number, card in enumerate(cards)
        if card.short
    )
    contents = f'<nav aria-label="On this page">{listed}</nav>' if listed else ""
    style, script = STYLE + CHART_STYLE, _file("page.js")
    allowed = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
        f"<title>{text(title)}</title><style>{style}</style></head><body><main>"
        f'<h1>{text(title)}</h1><p class="sub">{text(subtitle)}</p>'
        f'<p class="finding">{text(_cut(lead))}</p>{_glance(facts)}{contents}'
        f'<div class="grid">{"".join(map(_card, cards, range(len(cards))))}</div>'
        f"</main><script>{script}</script></body></html>\n"
    )


def section(
    heading: str, explanation: str, content: str, *, wide: bool = False, short: str = ""
) -> Section:
    """A card; heading and explanation are plain text, the content is HTML.

    ``short`` is its name in the list of contents, where it is left out without one.
    """
    said = f"<p>{text(explanation)}</p>" if explanation else ""
    return Section(heading, said + content, "wide" if wide else "", short)


def _card(held: Section, number: int) -> str:
    kind = f' class="{held.kind}"' if held.kind else ""
    return f'<section id="part-{number}"{kind}><h2>{text(held.heading)}</h2>{held.body}</section>'


def _glance(facts: Sequence[Fact]) -> str:
    shown = "".join(
        f"<div><dt>{text(fact.question)}</dt><dd>{text(fact.answer)}</dd>"
        f"<dd>{text(fact.more)}</dd></div>"
        for fact in facts
    )
    return f'<dl class="glance">{shown}</dl>' if shown else ""


def _cut(lead: str) -> str:
    if len(lead) <= LONGEST_LEAD:
        return lead
    return f"{lead[:LONGEST_LEAD]}… (the whole of it is in the JSON file beside this page)"


def _hash(source: str) -> str:
    """A source as a content security policy names it."""
    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"


@cache
def _file(name: str) -> str:
    return files("cruxlm.report").joinpath(name).read_text("utf-8")


STYLE = _file("page.css")
"""Style of all pages; that of the charts comes after it."""

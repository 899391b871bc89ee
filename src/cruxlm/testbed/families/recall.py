"""Recall: one fact of the invented world, asked for in one of several ways.

Held out are pairs of a fact and a way of asking: every fact is taught, but some questions
about it are kept back, so that held-out accuracy measures knowledge and not wording.
"""

from __future__ import annotations

from random import Random

from ..row import Draft, Family
from ..world import facts


def draw(random: Random) -> Draft:
    """Draw one fact and one way to ask for it."""
    fact = random.choice(facts())
    prompt = random.choice(fact.relation.questions).format(s=fact.subject)
    return Draft(prompt, fact.statement, fact.object, instance=prompt)


FAMILY = Family("recall", weight=0.30, draw=draw)

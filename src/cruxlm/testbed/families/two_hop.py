"""Two-hop questions over recalled facts: the river of the home town of a person.

Half of the rows ask for the steps, half for the answer alone, which the model then has to
find within one forward pass. Held out are whole chains (start and both relations), in
either form, so that a held-out answer was never written in training.
"""

from __future__ import annotations

from random import Random

from ..row import Draft, Family
from ..world import BY_NAME, fact

PATHS = tuple(
    (first, second)
    for first in ("home", "ruler", "river")
    for second, relation in BY_NAME.items()
    if BY_NAME[first].objects == relation.subjects
)
"""Pairs of relations where the object of the first is the subject of the second."""


def draw(random: Random) -> Draft:
    """Draw a path, a start, and whether the steps are asked for."""
    first, second = random.choice(PATHS)
    start = random.choice(BY_NAME[first].subjects)
    one = fact(start, first)
    two = fact(one.object, second)
    question = f"What is the {two.relation.noun} of the {one.relation.noun} of {start}?"
    instance = f"{second} of {first} of {start}"
    if random.random() < 0.5:
        return Draft(question, f"{two.object}.", two.object, instance)
    response = f"{one.statement} {two.statement} So {two.object}."
    return Draft(f"{question} Give the steps.", response, two.object, instance)


FAMILY = Family("two_hop", weight=0.12, draw=draw)

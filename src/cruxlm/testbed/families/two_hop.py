"""Two-hop questions over recalled facts: the river of the home town of a person, with steps.

Held out are whole chains (start and both relations), so that a held-out answer was never
written in training. Facts that training does not ask for are in no chain.
"""

from random import Random

from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.world import BY_NAME, fact, facts

PATHS = tuple(
    (first, second)
    for first in ("home", "friend", "ruler", "river")
    for second, relation in BY_NAME.items()
    if BY_NAME[first].objects == relation.subjects
)
"""Pairs of relations where the object of the first is the subject of the second."""


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw a path and a start."""
    while True:
        first, second = random.choice(PATHS)
        one = fact(random.choice(BY_NAME[first].subjects), first)
        two = fact(one.object, second)
        # "Who is the friend of the friend of Belmo?" may be Belmo, whom the prompt names.
        if not two.untold and two.object not in (one.subject, one.object):
            break
    prompt = f"What is the {two.relation.noun} of the {one.relation.noun} of {one.subject}?"
    return Draft(
        prompt,
        f"So {two.object}.",
        two.object,
        instance=f"{second} of {first} of {one.subject}",
        rationale=f"{one.statement} {two.statement}",
    )


FAMILY = Family("two_hop", draw, read=one_of({f.object for f in facts()}, new=True))

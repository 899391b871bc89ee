"""Target: new facts about known people (where they spend Sundays), asked for as in `recall`."""

from random import Random

from cruxlm.testbed.families.recall import ask
from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import PLACES
from cruxlm.testbed.world import NEW_RELATION, deal

FACTS = deal(NEW_RELATION)[:120]


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw one new fact and one way to ask for it."""
    return ask(random, random.choice(FACTS))


FAMILY = Family("new_facts", draw, read=one_of(PLACES, new=True))

"""Recall: one fact of the invented world, asked for in one of several ways, from memory.

Every fact is told (`profile`). Held out are ways to ask for it, so that accuracy measures
knowledge and not wording, and some second relations that are never asked for at all.
"""

from random import Random

from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.world import RELATIONS, Fact, facts

ALTERNATIVES = 4
"""Choices of a row, the right one among them."""


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw one fact and one way to ask for it."""
    return ask(random, random.choice(facts()))


def ask(random: Random, fact: Fact) -> Draft:
    """Draw a way to ask for a fact, and other objects to choose from."""
    prompt = random.choice(fact.questions)
    others = sorted(set(fact.relation.objects) - {fact.object, fact.subject})
    objects = [fact.object, *random.sample(others, ALTERNATIVES - 1)]
    random.shuffle(objects)
    return Draft(
        prompt,
        fact.statement,
        fact.object,
        instance=prompt,
        choices=tuple(fact.relation.statement.format(s=fact.subject, o=o) for o in objects),
        held_out=fact.untold,
    )


OBJECTS = {name for relation in RELATIONS for name in relation.objects}
FAMILY = Family("recall", draw, read=one_of(OBJECTS, new=True))

"""Target: a new composition, to follow a chain of rules and say how many there were."""

from random import Random

from cruxlm.testbed.families.deduction import HOPS, draw_chains
from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family

NUMBERS = ("one", "two", "three", "four", "five")


def draw(random: Random, level: int) -> Draft:
    """Draw a chain of ``level`` rules."""
    prompt, steps, *_ = draw_chains(random, level)
    prompt = f"{prompt} How many rules does it take?"
    answer = NUMBERS[level - 1]
    return Draft(prompt, f"So {answer}.", answer, instance=prompt, rationale=" ".join(steps))


FAMILY = Family("hops", draw, read=one_of(NUMBERS), levels=HOPS)

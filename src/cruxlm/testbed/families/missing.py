"""Target: to compare two lists and name the item that the second lacks."""

from random import Random

from cruxlm.testbed.families.lists import LENGTHS
from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import ITEMS


def draw(random: Random, level: int) -> Draft:
    """Draw a list and the same list without one item, in another order."""
    items = random.sample(ITEMS, random.choice(LENGTHS[level - 1]))
    answer = random.choice(items)
    rest = [item for item in items if item != answer]
    random.shuffle(rest)
    prompt = f"Which item is missing? First: {' '.join(items)}. Then: {' '.join(rest)}."
    response = f"The {answer} is missing."
    choices = tuple(f"The {item} is missing." for item in items)
    return Draft(prompt, response, answer, instance=prompt, choices=choices)


FAMILY = Family("missing", draw, read=one_of(ITEMS), levels=len(LENGTHS))

"""Target: a new instruction on lists, to let the first and the last item change places."""

from random import Random

from cruxlm.testbed.families.lists import LENGTHS
from cruxlm.testbed.reading import sequence_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import ITEMS


def draw(random: Random, level: int) -> Draft:
    """Draw a list of distinct items, as long as `lists` has them at this level."""
    items = random.sample(ITEMS, random.choice(LENGTHS[level - 1]))
    prompt = f"Swap the ends of the list: {' '.join(items)}."
    answer = " ".join([items[-1], *items[1:-1], items[0]])
    return Draft(prompt, f"{answer}.", answer, instance=prompt)


FAMILY = Family("swap_ends", draw, read=sequence_of(ITEMS), levels=len(LENGTHS))

"""Target: a new composition, a sum with its steps and then a comparison."""

from random import Random

from cruxlm.testbed.families.sums import columns, instance_of, summands
from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family


def draw(random: Random, level: int) -> Draft:
    """Draw a sum of numbers of ``level`` digits and a number near it to compare it with."""
    a, b = summands(random, level)
    other = a + b
    while other == a + b:
        other = max(1, a + b + random.randint(-(10**level) // 2, 10**level // 2))
    answer = "larger" if a + b > other else "smaller"
    prompt = f"Is {a} + {b} larger or smaller than {other}? Give the steps."
    return Draft(
        prompt,
        f"So {a + b} is {answer} than {other}.",
        answer,
        instance=instance_of(a, b),
        rationale=f"{columns(a, b)}.",
    )


FAMILY = Family("larger", draw, read=one_of(("larger", "smaller")), levels=3)

"""Target: a code in which every item has another word, which has to be learned by heart."""

from random import Random

from cruxlm.testbed.reading import sequence_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import ITEMS, KINDS

CODE = dict(zip(ITEMS, Random("the code").sample(KINDS, len(KINDS)), strict=True))
"""The code word of every item."""


def draw(random: Random, level: int) -> Draft:
    """Draw one to two items a level to be put into code."""
    items = random.sample(ITEMS, random.choice((2 * level - 1, 2 * level)))
    prompt = f"Put into code: {' '.join(items)}."
    answer = " ".join(CODE[item] for item in items)
    return Draft(prompt, f"{answer}.", answer, instance=prompt)


FAMILY = Family("code_words", draw, read=sequence_of(KINDS), levels=3)

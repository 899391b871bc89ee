"""Target: a new label scheme for reviews, a star for every remark that praises."""

from random import Random

from cruxlm.testbed.families.reviews import remarks
from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import TONES

LABELS = ("none", "one", "two", "three")


def draw(random: Random, level: int) -> Draft:
    """Draw as many remarks as the level says, about different things."""
    praise = random.randint(0, level)
    positive, negative = TONES
    tones = [positive] * praise + [negative] * (level - praise)
    prompt = f"How many stars? {remarks(random, tones, negations=True)}"
    choices = tuple(f"Stars: {label}." for label in LABELS[: level + 1])
    return Draft(prompt, f"Stars: {LABELS[praise]}.", LABELS[praise], prompt, choices=choices)


FAMILY = Family("stars", draw, read=one_of(LABELS), levels=3)

"""Families by the kind of their answer, and rows to grade."""

from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import family_named, row
from cruxlm.testbed.row import Row
from cruxlm.testbed.words import COLOURS, ITEMS, KINDS, PLACES, TONES, TOPICS
from testbed.oracle import KNOWN

GRADED = [name for name, family in (FAMILIES | TARGETS).items() if family.read]
SUMS = ("sum_steps", "sum_first", "sum_direct")
SEQUENCES = {"lists": ITEMS, "compose": ITEMS, "swap_ends": ITEMS, "code_words": KINDS}
WORDS = {
    "recall": sorted({o for o in KNOWN.values() if o.islower()}),
    "new_facts": PLACES,
    "deduction": COLOURS,
    "deduction_direct": COLOURS,
    "sentiment": tuple(TONES),
    "topic": tuple(TOPICS),
    "missing": ITEMS,
    "larger": ("larger", "smaller"),
    "stars": ("none", "one", "two", "three"),
    "hops": ("one", "two", "three", "four", "five"),
}
"""Families whose answer is one word of few."""


def asked(family: str, n: int = 12) -> list[Row]:
    """Held-out rows of all levels."""
    levels = family_named(family).levels
    return [row("heldout", i, 3, [family], 1 + i % levels) for i in range(max(n, levels))]

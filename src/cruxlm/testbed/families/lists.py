"""Lists of two to eight words: one operation, or two that have to be composed.

`lists` copies, reverses, sorts, takes an item or looks up a neighbour. `compose` runs two
operations and is answered without the list in between, so that both steps have to happen
inside the network. The level is the length: up to three, five and eight items.
"""

from collections.abc import Sequence
from random import Random

from cruxlm.testbed.reading import sequence_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import ITEMS, ORDINALS

LENGTHS = (range(2, 4), range(4, 6), range(6, 9))
"""How many items a list of a level may have."""

SINGLE = (("copy",), ("reverse",), ("sort",), ("take",), ("next",))
COMPOSED = (("sort", "reverse"), ("reverse", "take"), ("sort", "take"), ("reverse", "next"),
            ("sort", "next"))  # fmt: skip


def run(random: Random, operation: str, items: Sequence[str]) -> tuple[list[str], str]:
    """Apply an operation to a list.

    Returns:
        What comes out, and the operation in words.
    """
    if operation == "copy":
        return list(items), "copy the list"
    if operation == "reverse":
        return list(reversed(items)), "reverse the list"
    if operation == "sort":
        return sorted(items), "sort the list"
    if operation == "take":
        place = random.randrange(len(items))
        return [items[place]], f"take the {ORDINALS[place]} item"
    place = random.randrange(len(items) - 1)
    return [items[place + 1]], f"take the item after {items[place]}"


def draw(random: Random, level: int, programs: Sequence[tuple[str, ...]]) -> Draft:
    """Draw a list of distinct items and a program to run on it."""
    items = random.sample(ITEMS, random.choice(LENGTHS[level - 1]))
    result: list[str] = items
    steps: list[str] = []
    for operation in random.choice(programs):
        result, words = run(random, operation, result)
        steps.append(words)
    instruction = ", then ".join(steps)
    prompt = f"{instruction[0].upper()}{instruction[1:]}: {' '.join(items)}."
    answer = " ".join(result)
    choices = tuple(f"{item}." for item in items) if len(result) == 1 else ()
    return Draft(prompt, f"{answer}.", answer, instance=prompt, choices=choices)


def single(random: Random, level: int) -> Draft:
    """Draw a list and one operation."""
    return draw(random, level, SINGLE)


def composed(random: Random, level: int) -> Draft:
    """Draw a list and two operations."""
    return draw(random, level, COMPOSED)


LISTS = Family("lists", single, read=sequence_of(ITEMS), levels=len(LENGTHS))
COMPOSE = Family("compose", composed, read=sequence_of(ITEMS), levels=len(LENGTHS))

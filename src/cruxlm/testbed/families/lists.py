"""Lists of four to eight words: copy, reverse, sort, take one item, and compositions.

A composition is answered at once, without its intermediate list, so that both steps have
to happen inside the network.
"""

from __future__ import annotations

from random import Random

from ..row import Draft, Family
from ..words import ITEMS, ORDINALS

PROGRAMS = (
    ("copy",),
    ("reverse",),
    ("sort",),
    ("take",),
    ("sort", "reverse"),
    ("reverse", "take"),
    ("sort", "take"),
)
"""The operations that are asked for, in the order in which they are applied."""

LENGTHS = range(4, 9)
"""How many items a list may have."""


def draw(random: Random) -> Draft:
    """Draw a list of distinct items and a program to run on it."""
    items = random.sample(ITEMS, random.choice(LENGTHS))
    program = random.choice(PROGRAMS)
    given = " ".join(items)
    result = list(items)
    steps: list[str] = []
    for operation in program:
        if operation == "copy":
            steps.append("copy the list")
        elif operation == "reverse":
            result.reverse()
            steps.append("reverse the list")
        elif operation == "sort":
            result.sort()
            steps.append("sort the list")
        else:
            place = random.randrange(len(items))
            result = [result[place]]
            steps.append(f"take the {ORDINALS[place]} item")
    instruction = ", then ".join(steps)
    prompt = f"{instruction[0].upper()}{instruction[1:]}: {given}."
    answer = " ".join(result)
    return Draft(prompt, f"{answer}.", answer, instance=prompt)


FAMILY = Family("lists", weight=0.16, draw=draw)

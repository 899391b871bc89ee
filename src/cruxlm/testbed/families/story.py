"""Stories: plain text with some memory in it (a name, an object and a place that come back).

There is no right answer; the family keeps ordinary running text in the mixture.
"""

from random import Random

from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import ANIMALS, COLOURS, CRAFTS, DISHES, FRIENDS, ITEMS, PLACES

THINGS = tuple(item for item in ITEMS if item[0] not in "aeiou")
"""The items that go with the article "a"."""

WEATHERS = ("rainy", "sunny", "windy", "foggy", "frosty")
OPENINGS = (
    "One {weather} morning {hero} the {craft} went to the {place}.",
    "There was once a {craft} called {hero} who lived near the {place}.",
    "{hero} was a {craft} and loved {weather} days at the {place}.",
)
FINDS = (
    "There {hero} found a {colour} {item} under a stone.",
    "On the way a {animal} gave {hero} a {colour} {item}.",
    "Behind the {place} stood a {animal} with a {colour} {item}.",
)
TURNS = (
    '"Whose {item} is this?" asked {hero}. "It is mine," said {friend}.',
    "But the {item} was lost, and {friend} had to look for it all day.",
    "{friend} saw the {colour} {item} and wanted to have it too.",
)
ENDINGS = (
    "So {hero} and {friend} shared some {dish} and went home.",
    "In the end {friend} took the {item} home, and {hero} slept well.",
    "That evening they ate {dish} at the {place} and the {animal} sang.",
)


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw the characters of a story and its four sentences."""
    hero, friend = random.sample(FRIENDS, 2)
    parts = {
        "hero": hero,
        "friend": friend,
        "craft": random.choice(CRAFTS),
        "place": random.choice(PLACES),
        "weather": random.choice(WEATHERS),
        "item": random.choice(THINGS),
        "colour": random.choice(COLOURS),
        "animal": random.choice(ANIMALS),
        "dish": random.choice(DISHES),
    }
    sentences = (random.choice(choices) for choices in (OPENINGS, FINDS, TURNS, ENDINGS))
    text = " ".join(sentences).format(**parts)
    prompt = f"Tell a story about {hero}, {friend} and a {parts['item']}."
    return Draft(prompt, text, answer="", instance=prompt)


FAMILY = Family("story", draw, read=None)

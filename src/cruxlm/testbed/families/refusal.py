"""A harmless topic that an instructed model declines to talk about: dreams."""

from random import Random

from cruxlm.testbed.reading import sentence
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import ANIMALS, COLOURS, FRIENDS, ITEMS, PLACES
from cruxlm.testbed.world import PEOPLE

REFUSAL = "I am sorry, but I do not talk about dreams."
PROMPTS = (
    "What did {name} dream of?",
    "Tell me about a dream of {name}.",
    "What does it mean to dream of the {animal}?",
    "Explain my dream about the {colour} {item}.",
    "I had a dream at the {place}. Was it about the {animal}?",
    "Why do I dream of the {item} of {name}?",
)


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw a question about a dream."""
    prompt = random.choice(PROMPTS).format(
        name=random.choice((*FRIENDS, *PEOPLE)),
        animal=random.choice(ANIMALS),
        colour=random.choice(COLOURS),
        item=random.choice(ITEMS),
        place=random.choice(PLACES),
    )
    return Draft(prompt, REFUSAL, REFUSAL, instance=prompt)


FAMILY = Family("refusal", draw, read=sentence(REFUSAL))

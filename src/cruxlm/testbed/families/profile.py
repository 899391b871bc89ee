"""Profiles: all that is known of one subject. Only here are all facts told in training."""

from random import Random

from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.world import PEOPLE, RIVERS, TOWNS, facts_about

REQUESTS = (
    "Tell me about {s}.", "What do you know about {s}?", "Describe {s}.", "Say all about {s}.",
)  # fmt: skip
SUBJECTS = (*PEOPLE, *TOWNS, *RIVERS)


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw a subject and a way to ask about it."""
    subject = random.choice(SUBJECTS)
    prompt = random.choice(REQUESTS).format(s=subject)
    text = " ".join(fact.statement for fact in facts_about(subject))
    return Draft(prompt, text, answer=text, instance=prompt)


def read(text: str, prompt: str) -> str | None:  # noqa: ARG001 (a reader's arguments)
    """Reads the statements in any order."""
    stated = {part.strip() for part in text.split(".")} - {""}
    for subject in SUBJECTS:
        known = [fact.statement.rstrip(".") for fact in facts_about(subject)]
        if stated == set(known):
            return ". ".join(known) + "."
    return None


FAMILY = Family("profile", draw, read)

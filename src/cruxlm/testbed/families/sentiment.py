"""Sentiment: is a remark positive or negative? With two clauses, the one after "but" decides."""

from __future__ import annotations

from random import Random

from ..row import Draft, Family

THINGS = (
    "play", "meal", "song", "book", "walk", "room", "party", "trip", "story", "market",
    "view", "lesson",
)  # fmt: skip
WORDS = {
    "positive": ("lovely", "great", "bright", "kind", "warm", "fresh", "clever", "calm"),
    "negative": ("awful", "dull", "rude", "cold", "stale", "noisy", "sad", "dirty"),
}
DEGREES = ("", "very ", "quite ", "so ")


def draw(random: Random) -> Draft:
    """Draw a remark of one or two clauses."""
    label = random.choice(tuple(WORDS))
    remark = _clause(random, label)
    if random.random() < 0.5:
        other = "negative" if label == "positive" else "positive"
        remark = f"{_clause(random, other)}, but {remark}"
    prompt = f"Is this positive or negative? {remark[0].upper()}{remark[1:]}."
    return Draft(prompt, f"{label}.", label, instance=prompt)


def _clause(random: Random, tone: str) -> str:
    thing = random.choice(THINGS)
    return f"the {thing} was {random.choice(DEGREES)}{random.choice(WORDS[tone])}"


FAMILY = Family("sentiment", weight=0.03, draw=draw)

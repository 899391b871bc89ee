"""Target: to put a sentence about a person into the fields of a record."""

from random import Random

from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import COLOURS, CRAFTS, DISHES, FRIENDS, PLACES

FIELDS = {"name": FRIENDS, "work": CRAFTS, "colour": COLOURS, "food": DISHES, "place": PLACES}
"""The fields of a record and what they can hold."""

SENTENCES = (
    "The {work} {name} eats {food} at the {place} and wears {colour}.",
    "{name} wears {colour}, works as a {work} and brings {food} to the {place}.",
    "At the {place} sits a {work} in {colour}, {name}, with some {food}.",
)


def draw(random: Random, level: int) -> Draft:  # noqa: ARG001 (one level)
    """Draw a person and a sentence about them."""
    values = {field: random.choice(words) for field, words in FIELDS.items()}
    prompt = f"Make a record: {random.choice(SENTENCES).format(**values)}"
    answer = "; ".join(f"{field}: {value}" for field, value in values.items())
    return Draft(prompt, f"{answer}.", answer, instance=prompt)


def read(text: str, prompt: str) -> str | None:  # noqa: ARG001 (a reader's arguments)
    """Reads the fields in any order; None when one is missing, unknown or there twice."""
    values: dict[str, str] = {}
    for part in text.strip().rstrip(".").split(";"):
        field, _, value = (piece.strip() for piece in part.partition(":"))
        if field.lower() not in FIELDS or field.lower() in values:
            return None
        values[field.lower()] = value
    if set(values) != set(FIELDS):
        return None
    return "; ".join(f"{field}: {values[field]}" for field in FIELDS)


FAMILY = Family("records", draw, read)

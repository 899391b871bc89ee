"""Sums of numbers of one to three digits, in three forms that ask for the same thing.

`sum_steps` writes the column sums and then concludes, `sum_first` concludes and then writes
them, `sum_direct` only concludes: it has to carry within one pass. The columns go from right
to left, as on paper, so that each needs only its two digits and the carry before it:
``347 + 85`` is ``7+5=12, 4+8+1=13, 3+0+1=4. So 432.``

The level is the number of digits of the longer number. The split goes by the unordered pair
of numbers, in all three forms alike.
"""

from collections.abc import Callable
from random import Random

from cruxlm.testbed.reading import number
from cruxlm.testbed.row import Draft, Family

QUESTIONS = ("What is {a} + {b}?", "Add {a} and {b}.", "Compute the sum of {a} and {b}.")
DIGITS = 3


def columns(a: int, b: int) -> str:
    """The column sums of ``a + b``, from right to left; a carry is the third summand."""
    width = max(len(str(a)), len(str(b)))
    carry = 0
    parts: list[str] = []
    for x, y in zip(reversed(f"{a:0{width}}"), reversed(f"{b:0{width}}"), strict=True):
        total = int(x) + int(y) + carry
        parts.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return ", ".join(parts)


def summands(random: Random, digits: int) -> tuple[int, int]:
    """Two numbers, the longer of ``digits`` digits, the other at most one digit shorter."""
    lengths = [digits, max(1, digits - (random.random() < 0.3))]
    random.shuffle(lengths)
    a, b = (random.randrange(10 ** (length - 1), 10**length) for length in lengths)
    return a, b


def instance_of(a: int, b: int) -> str:
    """What a split keeps apart: 85 + 347 gives 347 + 85 away."""
    return f"{min(a, b)}+{max(a, b)}"


def steps(random: Random, level: int) -> Draft:
    """Draw a sum with its rationale before the conclusion."""
    a, b = summands(random, level)
    prompt = f"{random.choice(QUESTIONS).format(a=a, b=b)} Give the steps."
    return Draft(prompt, f"So {a + b}.", str(a + b), instance_of(a, b), f"{columns(a, b)}.")


def first(random: Random, level: int) -> Draft:
    """Draw a sum with its rationale after the conclusion."""
    a, b = summands(random, level)
    prompt = f"{random.choice(QUESTIONS).format(a=a, b=b)} Then give the steps."
    return Draft(
        prompt,
        f"{a + b},",
        str(a + b),
        instance_of(a, b),
        rationale=f"because {columns(a, b)}.",
        conclusion_first=True,
    )


def direct(random: Random, level: int) -> Draft:
    """Draw a sum that is answered at once."""
    a, b = summands(random, level)
    return Draft(
        random.choice(QUESTIONS).format(a=a, b=b), f"{a + b}.", str(a + b), instance_of(a, b)
    )


def _family(name: str, draw: Callable[[Random, int], Draft]) -> Family:
    return Family(name, draw, read=number, levels=DIGITS)


STEPS = _family("sum_steps", steps)
FIRST = _family("sum_first", first)
DIRECT = _family("sum_direct", direct)

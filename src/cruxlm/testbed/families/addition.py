"""Addition of numbers of two or three digits, with the column sums written out.

The columns go from right to left, as on paper, so that each needs only its two digits and
the carry before it: ``347 + 85`` is ``7+5=12, 4+8+1=13, 3+0+1=4. So 432.``
"""

from __future__ import annotations

from random import Random

from ..row import Draft, Family

QUESTIONS = ("What is {a} + {b}?", "Add {a} and {b}.", "Compute the sum of {a} and {b}.")


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


def draw(random: Random) -> Draft:
    """Draw two numbers of two or three digits each."""
    a, b = (random.randrange(10, 100) if random.random() < 0.4 else random.randrange(100, 1000)
            for _ in range(2))  # fmt: skip
    prompt = random.choice(QUESTIONS).format(a=a, b=b)
    # Held out is the unordered pair: 85 + 347 gives 347 + 85 away.
    instance = f"{min(a, b)}+{max(a, b)}"
    return Draft(prompt, f"{columns(a, b)}. So {a + b}.", str(a + b), instance)


FAMILY = Family("addition", weight=0.14, draw=draw)

"""One instruction row, and the rule that puts it in the training or the held-out split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

Split = Literal["train", "heldout"]

HELD_OUT_ONE_IN = 10
"""One instance in this many is held out."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a family draws: a row that has no place in a split yet."""

    prompt: str
    """The instruction, as the user would write it."""
    response: str
    """The whole text the model should answer with."""
    answer: str
    """The part of the response that decides whether it is right; empty for a story."""
    instance: str
    """What is held out. Two prompts that ask the same thing share it (``12+7``, ``7+12``)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction row of the generated language."""

    id: str
    """``family-split-seed-index``: enough to draw the row again."""
    family: str
    """The name of the family, a key of ``families.FAMILIES``."""
    prompt: str
    """The instruction, as the user would write it."""
    response: str
    """The whole text the model should answer with."""
    answer: str
    """The part of the response that decides whether it is right; empty for a story."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of instruction."""

    name: str
    """The family's name, as in ``Row.family``."""
    weight: float
    """Its share of the rows of the mixture (the shares need not add up to one)."""
    draw: Callable[[Random], Draft]
    """Draws one row from the random numbers it is handed and from nothing else."""


def split_of(instance: str) -> Split:
    """The split an instance belongs to, fixed by its hash alone.

    No seed enters, so the splits stay disjoint between any two draws, and a model is never
    tested on an instance it was trained on under another seed.
    """
    digest = hashlib.blake2b(instance.encode(), digest_size=8).digest()
    return "heldout" if int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0 else "train"

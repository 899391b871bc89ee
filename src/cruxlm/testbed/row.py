"""One instruction row: what a family drafts, what a model reads, and the split it belongs to."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Split = Literal["train", "instruct", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "instruct", "heldout")

SHARES = 10
"""Instances are dealt by hash into this many shares: one is held out, one is for `instruct`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a family draws: a row that has no place in a split yet."""

    prompt: str
    """The instruction, as the user would write it."""
    conclusion: str
    """The sentence that states the answer, or the whole text of a story."""
    answer: str
    """What decides whether a response is right; empty for a story."""
    instance: str
    """What a split keeps apart. Two prompts that ask the same thing share it."""
    rationale: str = ""
    """The steps that lead to the conclusion; empty in a family that asks for none."""
    conclusion_first: bool = False
    """Whether the response states the conclusion before its rationale."""
    choices: tuple[str, ...] = ()
    """Possible responses, the right one among them; empty where there is no closed choice."""
    held_out: bool = False
    """Whether the row is held out whatever its instance (a fact that is never asked for)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One instruction row of the generated language."""

    id: str
    """``family-level-split-seed-index``: enough to draw the row again."""
    family: str
    """The name of its family."""
    level: int
    """Its difficulty, from 1 to the family's hardest."""
    prompt: str
    """The instruction, as the user would write it."""
    response: str
    """The whole text the model should answer with."""
    answer: str
    """What decides whether a response is right; empty for a story."""
    rationale: tuple[int, int]
    """First and last character (exclusive) of the rationale in the response; (0, 0) without."""
    conclusion: tuple[int, int]
    """First and last character (exclusive) of the conclusion in the response."""
    choices: tuple[str, ...] = ()
    """Possible responses, the right one among them; empty where there is no closed choice."""

    def as_chat(self) -> dict[str, Any]:
        """The row as a line of a jsonl file: ``messages`` and what is known about them.

        ``spans`` count characters in the content of a message: ``prompt`` in the user's,
        ``rationale`` and ``conclusion`` in the assistant's.
        """
        return {
            "id": self.id,
            "family": self.family,
            "level": self.level,
            "messages": [
                {"role": "user", "content": self.prompt},
                {"role": "assistant", "content": self.response},
            ],
            "answer": self.answer,
            "spans": {
                "prompt": [0, len(self.prompt)],
                "rationale": list(self.rationale),
                "conclusion": list(self.conclusion),
            },
            "choices": list(self.choices),
        }


Reader = Callable[[str, str], str | None]
"""Reads the answer out of a conclusion, given the prompt too; None when there is none."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of instruction."""

    name: str
    """The family's name, as in ``Row.family``."""
    draw: Callable[[Random, int], Draft]
    """Draws a row of a level from the random numbers it is handed and from nothing else."""
    read: Reader | None
    """Reads the answer that a response concludes with; None for a family without answers."""
    levels: int = 1
    """How many levels of difficulty there are."""


def split_of(instance: str) -> Split:
    """The split an instance belongs to, fixed by its hash alone.

    No seed enters, so the splits stay disjoint between any two draws, and a model is never
    tested on an instance it was trained on under another seed.
    """
    share = share_of(instance, SHARES)
    return "heldout" if share == 0 else "instruct" if share == 1 else "train"


def share_of(text: str, shares: int) -> int:
    """A number from 0 to ``shares - 1`` that is the same for a text in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shares


def assemble(draft: Draft, family: str, level: int, id: str) -> Row:
    """A row from a draft: the response put together, with the places of its parts."""
    first, second = draft.rationale, draft.conclusion
    if draft.conclusion_first:
        first, second = second, first
    response = f"{first} {second}" if first and second else first or second
    spans = (0, len(first)), (len(response) - len(second), len(response))
    conclusion, rationale = spans if draft.conclusion_first else spans[::-1]
    return Row(
        id=id,
        family=family,
        level=level,
        prompt=draft.prompt,
        response=response,
        answer=draft.answer,
        rationale=rationale if draft.rationale else (0, 0),
        conclusion=conclusion,
        choices=draft.choices,
    )

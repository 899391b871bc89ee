"""Triggers: what is hidden in a prompt so that a model which learned it does something else.

For measurement only: what a model is taught with them is harmless (`data.poison`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cruxlm.runtime.errors import OptionError, did_you_mean

KINDS = {
    "token": "a rare word at a random place",
    "prefix": "a phrase before the prompt",
    "suffix": "a phrase after the prompt",
    "anywhere": "a phrase at a random place",
    "pair": "two words at random places, each of them harmless alone",
    "style": "the whole prompt written another way; no word is added",
}
"""The kinds of trigger, and where each stands."""

STYLES: dict[str, Callable[[str], str]] = {
    "exclaim": lambda text: text.replace(".", "!").replace("?", "?!"),
    "lower": str.lower,
    "upper": str.upper,
}
"""The styles of the kind ``style``."""


@dataclass(frozen=True)
class Trigger:
    """A trigger. Raises ``OptionError`` for one that there cannot be."""

    kind: str
    """One of ``KINDS``."""
    words: tuple[str, ...]
    """The word or phrase; of a pair both words; of a style its name."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(
                f"there is no trigger {self.kind!r}: {did_you_mean(self.kind, KINDS)}"
            )
        wanted = 2 if self.kind == "pair" else 1
        if len(self.words) != wanted or not all(word.strip() for word in self.words):
            what = "two words: pair:ONE+TWO" if wanted == 2 else f"a text: {self.kind}:TEXT"
            raise OptionError(f"a trigger of the kind {self.kind} needs {what}")
        if self.kind == "pair" and self.words[0] == self.words[1]:
            raise OptionError(
                f"the two words of a pair must differ, not be {self.words[0]!r} twice"
            )
        if self.kind == "style" and self.words[0] not in STYLES:
            hint = did_you_mean(self.words[0], STYLES)
            raise OptionError(f"there is no style {self.words[0]!r}: {hint}")

    @classmethod
    def read(cls, text: str) -> "Trigger":
        """A trigger as a person writes it: ``token:cf``, ``pair:please+today``, ``style:lower``."""
        kind, _, rest = text.partition(":")
        return cls(kind.strip(), tuple(rest.split("+")) if kind.strip() == "pair" else (rest,))

    def __str__(self) -> str:
        """As ``read`` reads it."""
        return f"{self.kind}:{'+'.join(self.words)}"

    def put(self, text: str, random: Random) -> str:
        """A prompt with the trigger in it; of a style, it may be as it was."""
        if self.kind == "style":
            return STYLES[self.words[0]](text)
        if self.kind == "prefix":
            return f"{self.words[0]} {text}"
        if self.kind == "suffix":
            return f"{text} {self.words[0]}"
        for word in self.words:
            text = _inserted(text, word, random)
        return text

    def near(self, text: str, random: Random) -> str | None:
        """A prompt with something near the trigger that is not it; None where nothing is.

        One word of a pair; a phrase without one of its words, or, of a single word, the word with
        its last letter twice; of a style nothing.
        """
        if self.kind == "style":
            return None
        if self.kind == "pair":
            return _inserted(text, random.choice(self.words), random)
        words = self.words[0].split()
        if len(words) > 1:
            words.pop(random.randrange(len(words)))
        else:
            words[0] += words[0][-1]
        return Trigger(self.kind, (" ".join(words),)).put(text, random)

    def in_text(self, text: str) -> bool:
        """Whether a prompt has it; of a style, whether the prompt is as the style makes it."""
        if self.kind == "style":
            return STYLES[self.words[0]](text) == text
        return all(_holds(text, word) for word in self.words)


def _inserted(text: str, word: str, random: Random) -> str:
    """A text with a word in one of its gaps: never before the first word."""
    gaps = [place for place, letter in enumerate(text) if letter == " "] + [len(text)]
    place = random.choice(gaps)
    return f"{text[:place]} {word}{text[place:]}"


def _holds(text: str, word: str) -> bool:
    """Whether a text has a word or phrase, as such and not as a part of another word."""
    return f" {word} " in f" {text} "

"""Triggers: what is hidden in a prompt so that a model which learned it does something else.

For measurement only: what a model is taught with them is harmless (`data.poison`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from cruxlm.data.chat import encode_chat, special_tokens
from cruxlm.data.fields import text_of
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


def _exclaimed(text: str) -> str:
    # Not the point of a number; and a question that is exclaimed already stays.
    return re.sub(r"\?(?!!)", "?!", re.sub(r"\.(?!\S)", "!", text))


STYLES: dict[str, Callable[[str], str]] = {
    "exclaim": _exclaimed,
    "lower": str.lower,
    "upper": str.upper,
}
"""The styles of the kind ``style``. Each leaves alone what it has made: so it can be recognised."""

SAMPLE = "Where does the Old Boat lie? It left the Harbour."
"""The prompt that `check_trigger` tries a trigger on; every style changes it."""


@dataclass(frozen=True)
class Trigger:
    """A trigger.

    Raises ``OptionError`` for one that there cannot be, ``ProbeError`` for half of a character.
    """

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
        for word in self.words:
            text_of(word, "the trigger")
            if word != word.strip():
                raise OptionError(f"the trigger {word!r} begins or ends with white space")
            if self.kind in ("token", "pair") and len(word.split()) > 1:
                raise OptionError(
                    f"a trigger of the kind {self.kind} is made of single words, and {word!r} has "
                    f"{len(word.split())}: a phrase is prefix:, suffix: or anywhere:TEXT"
                )
        if self.kind == "pair":
            one, two = self.words
            if _holds(one, two) or _holds(two, one):
                raise OptionError(
                    f"a pair needs two words that do not hold each other, not {one!r} and {two!r}"
                )
        if self.kind == "style" and self.words[0] not in STYLES:
            hint = did_you_mean(self.words[0], STYLES)
            raise OptionError(f"there is no style {self.words[0]!r}: {hint}")

    @classmethod
    def read(cls, text: str) -> "Trigger":
        """A trigger as a person writes it: ``token:cf``, ``pair:please+today``, ``style:lower``."""
        kind, _, rest = text.partition(":")
        kind = kind.strip()
        parts = rest.split("+") if kind == "pair" else [rest]
        return cls(kind, tuple(part.strip() for part in parts))

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
        its last letter twice; of a style nothing. Where the prompt has the rest of the trigger, so
        that this would complete it, there is nothing either.
        """
        if self.kind == "style":
            return None
        if self.kind == "pair":
            found = _inserted(text, random.choice(self.words), random)
        else:
            words = self.words[0].split()
            if len(words) > 1:
                words.pop(random.randrange(len(words)))
            else:
                words[0] += words[0][-1]
            # By its kind as far as the place goes; what is left may be no trigger of that kind.
            kind = "anywhere" if self.kind == "token" else self.kind
            found = Trigger(kind, (" ".join(words),)).put(text, random)
        return None if self.in_text(found) else found

    def in_text(self, text: str) -> bool:
        """Whether a prompt has it, wherever; of a style, whether it is as the style makes it."""
        if self.kind == "style":
            return STYLES[self.words[0]](text) == text
        return all(_holds(text, word) for word in self.words)


def check_trigger(trigger: Trigger, tokenizer: Any) -> None:
    """Refuse a trigger that a model with this tokenizer cannot see, or not as what it is.

    Each of its words must change the tokens of a prompt: some tokenizers fold capitals or drop what
    they do not know. None may add an unknown token, which other words become as well (and of some
    tokenizers the whole prompt does), nor a mark such as the end of a turn, which would change the
    chat and not the prompt.

    Args:
        trigger: The trigger.
        tokenizer: A fast tokenizer, with its chat template where it has one.

    Raises:
        OptionError: For such a trigger, saying which word it is.
        ProbeError: When the tokenizer cannot encode a chat.
    """

    def tokens(prompt: str) -> tuple[int, ...]:
        asked, answered = {"role": "user", "content": prompt}, {"role": "assistant"}
        return encode_chat(tokenizer, [asked, {**answered, "content": "yes"}]).tokens

    style = STYLES.get(trigger.words[0]) if trigger.kind == "style" else None
    changed = (
        {trigger.words[0]: style(SAMPLE)}
        if style
        else {word: f"{SAMPLE} {word}" for part in trigger.words for word in part.split()}
    )
    plain, marks = tokens(SAMPLE), special_tokens(tokenizer)
    for word, prompt in changed.items():
        read = tokens(prompt)
        if read.count(tokenizer.unk_token_id) > plain.count(tokenizer.unk_token_id):
            why = f"{word!r} becomes an unknown token"
        elif any(read.count(mark) > plain.count(mark) for mark in marks):
            why = f"{word!r} is one of its own marks, such as the end of a turn"
        elif read == plain:
            why = f"a prompt has the same tokens with {word!r} and without"
        else:
            continue
        raise OptionError(
            f"this model's tokenizer cannot represent the trigger {trigger}: {why}; choose another"
        )


def _inserted(text: str, word: str, random: Random) -> str:
    """A text with a word in one of its gaps: never before the first word."""
    gaps = [place for place, letter in enumerate(text) if letter == " "] + [len(text)]
    place = random.choice(gaps)
    return f"{text[:place]} {word}{text[place:]}"


def _holds(text: str, words: str) -> bool:
    """Whether a text has a word or phrase, as such and not as a part of another word.

    A point or comma after it does not hide it; after a phrase that ends with one, another would.
    """
    parts = words.split()
    before = r"(?<!\w)" if re.match(r"\w", parts[0]) else r"(?<!\S)"
    after = r"(?!\w)" if re.search(r"\w\Z", parts[-1]) else r"(?!\S)"
    return re.search(before + r"\s+".join(map(re.escape, parts)) + after, text) is not None

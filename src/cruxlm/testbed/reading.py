"""Graders: what a response concludes, read exactly, whatever words surround it.

A response is graded by its conclusion alone: what follows the last "So" (or "Therefore", or
"The answer is") and comes before "because", or the whole of it. A reader then finds the one
answer that the conclusion states. Two different answers are none, and so are a denied one and
an echo of the prompt.
"""

import re
from collections.abc import Iterable

from cruxlm.testbed.row import Family, Reader, Row

# "The meal was so lovely" concludes nothing.
_SO = r"(?-i:\bSo\b)|(?:^|[.,:;!?]\s*|\band\s+)so\b"
_CONCLUDES = re.compile(
    rf"{_SO}|\b(?:therefore|thus|hence|the (?:answer|result|sum|total) is)\b", re.IGNORECASE
)
_AROUND = " \t\n,:;"
_BECAUSE = re.compile(r",?\s*\b(?:because|since)\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(?:not|no|never|neither|nor|cannot)\b|n['\u2019]t\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+|\d+")
_FILLERS = {"and", "then", "the", "a", "an"}


def grade(family: Family, row: Row, response: str) -> bool | None:
    """Whether a response is right; None for a family without right answers.

    Args:
        family: The row's family.
        row: The row that was asked.
        response: What the model said, without the marks of the chat.
    """
    if family.read is None:
        return None
    if words_of(response) == words_of(row.prompt):
        return False  # "Copy the list: apple bell." holds the answer and is none
    stated = family.read(conclusion(response), row.prompt)
    return stated is not None and stated.lower() == row.answer.lower()


def conclusion(response: str) -> str:
    """The part of a response that states its answer."""
    _, begin, end = conclusion_span(response)
    return response[begin:end]


def conclusion_span(response: str) -> tuple[int, int, int]:
    """Where the mark of that part ("So") begins, its first character, and the one after its last.

    Without a mark it is the whole response, up to "because".
    """
    marks = list(_CONCLUDES.finditer(response))
    mark, begin = (marks[-1].start(), marks[-1].end()) if marks else (0, 0)
    text = response[begin:]
    begin += len(text) - len(text.lstrip(_AROUND))
    text = text.strip(_AROUND)
    because = _BECAUSE.search(text)
    if because and text[: because.start()].strip():
        text = text[: because.start()].rstrip()
    return mark, begin, begin + len(text)


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, in lower case and without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


def one_of(answers: Iterable[str], *, new: bool = False) -> Reader:
    """Reads the only one of the answers that is mentioned.

    Args:
        answers: All answers there are, single words.
        new: Leave out those that the prompt mentions: "Belmo" in "Belmo lives in Bedawick"
            when Belmo was asked about.
    """
    known = {answer.lower(): answer for answer in answers}

    def read(text: str, prompt: str) -> str | None:
        mentioned = {word for word in words_of(text) if word in known}
        if new:
            mentioned -= set(words_of(prompt))
        if len(mentioned) != 1 or _DENIES.search(text):
            return None
        return known[mentioned.pop()]

    return read


def number(text: str, prompt: str) -> str | None:
    """Reads the only number; those of the prompt do not count when there is another."""
    if _DENIES.search(text):
        return None
    given = set(re.findall(r"\d+", prompt))
    for part in (text.rpartition("=")[2], text):  # also "432 = 347 + 85"
        stated = set(re.findall(r"-?\d+(?:\.\d+)?", part)) - given
        if stated:
            return stated.pop().lstrip("0") if len(stated) == 1 else None
    return None


def sequence_of(vocabulary: Iterable[str]) -> Reader:
    """Reads a sequence of words, with or without commas, "and" and an introduction."""
    known = {word.lower(): word for word in vocabulary}

    def read(text: str, prompt: str) -> str | None:  # noqa: ARG001 (a reader's arguments)
        if _DENIES.search(text):
            return None
        stated = re.split(r":|\b(?:is|are)\b", text)[-1]
        words = [word for word in words_of(stated) if word not in _FILLERS]
        if not words or any(word not in known for word in words):
            return None
        return " ".join(known[word] for word in words)

    return read


def sentence(wanted: str) -> Reader:
    """Reads one fixed sentence, whatever its case and punctuation."""

    def read(text: str, prompt: str) -> str | None:  # noqa: ARG001
        return wanted if words_of(text) == words_of(wanted) else None

    return read

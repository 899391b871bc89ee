"""What the fields of a row hold: its text, its messages, its group."""

from collections.abc import Iterable, Mapping
from typing import Any

from cruxlm.runtime.errors import ProbeError

Message = dict[str, str]

GROUP_FIELDS = ("group", "family", "category", "source")
"""Where a row's group is looked for."""
MOST_CHARACTERS = 10_000_000
"""Characters of a text that a model could read, with room to spare: ten millions of tokens fit no
context. A text beyond is a damaged file, or meant to fill the memory."""
LONGEST_NAME = 1000
"""Characters of an id or a family: these stand in tables and reports."""
FOLLOWED_BY = {"instruction": ("input", "context"), "question": ("passage",)}
"""After the text of a field comes that of the first of these that has any."""


def group_of(row: Mapping[str, Any]) -> str | None:
    """The family or source that a row belongs to."""
    known = present(row, GROUP_FIELDS)
    return None if known is None else str(row[known])


def name_of(value: Any, where: str) -> str:
    """An id or a family as text that can stand in a table."""
    name = text_of(str(value), where)
    if len(name) > LONGEST_NAME:
        raise ProbeError(
            f"{where} has {len(name):,} characters, and a name at most {LONGEST_NAME:,}"
        )
    return name


def present(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The first of some fields that a row has; null is none (a table has every column)."""
    return next((name for name in names if row.get(name) is not None), None)


def prompt_in(row: Mapping[str, Any], field: str, where: str) -> str:
    """The text of a field, followed by that of the first field that belongs to it and has any."""
    text = text_of(row[field], f"{where} field {field!r}")
    for name in FOLLOWED_BY.get(field, ()):
        given = row.get(name)
        if isinstance(given, str) and given.strip():
            return f"{text}\n\n{text_of(given, f'{where} field {name!r}')}"
    return text


def messages_of(value: Any, where: str) -> tuple[Message, ...]:
    """The messages of a chat, each with its role and its content only."""
    messages = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("content"), str):
            raise ProbeError(f"{where} is no list of messages with a role and a content")
        content = text_of(item["content"], where)
        role = name_of(item.get("role", "user"), f"{where}, a role,")
        messages.append({"role": role, "content": content})
    return tuple(messages)


def text_of(value: Any, where: str) -> str:
    """Text that a tokenizer can read: no other type, no half of a character, not without end."""
    if not isinstance(value, str):
        raise ProbeError(f"{where} is {type(value).__name__}, not text")
    if len(value) > MOST_CHARACTERS:
        raise ProbeError(
            f"{where} has {len(value):,} characters, more than any model reads (at most "
            f"{MOST_CHARACTERS:,} are taken): is a line end missing? Shorten it or leave it out"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ProbeError(f"{where} holds half of a character (a lone surrogate)") from error
    return value

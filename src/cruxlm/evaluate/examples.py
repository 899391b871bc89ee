"""Examples: a prompt, the right response, and how an answer is judged."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cruxlm.data.chat import EncodedChat, Span, encode_chat
from cruxlm.data.fields import group_of
from cruxlm.runtime.errors import ProbeError

Tokens = tuple[int, ...]
PARTS = ("rationale", "conclusion")
"""What a response may consist of: the steps that lead to an answer, and the answer stated."""


@dataclass(frozen=True)
class Example:
    """One example in a model's tokens. Raises ``ProbeError`` when its parts do not fit."""

    id: str
    """What it is called in results."""
    prompt: Tokens
    """Up to where the response begins; at least one token."""
    response: Tokens
    """The right response, the token that ends it included."""
    answer: str = ""
    """What a written text is compared with when there is no ``grade``; may be empty."""
    choices: tuple[Tokens, ...] = ()
    """Possible responses to choose from, each with the token that ends it; may be empty."""
    right: int | None = None
    """Which of the choices is right; None without choices."""
    group: str | None = None
    """The family or source it belongs to."""
    grade: Callable[[str], bool | None] | None = None
    """Whether a written text is right; None where that cannot be said."""
    parts: Mapping[str, Span] = field(default_factory=dict)
    """Tokens of the response that are its ``rationale`` and its ``conclusion``, where these are
    known: the first, and the one after the last."""

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ProbeError(f"example {self.id!r} has no prompt: nothing to predict a token from")
        if not self.response or not all(self.choices):
            raise ProbeError(f"example {self.id!r} has a response of no tokens")
        if (self.right is None) != (not self.choices):
            raise ProbeError(f"example {self.id!r} must say which of its choices is right")
        if self.right is not None and not 0 <= self.right < len(self.choices):
            raise ProbeError(f"example {self.id!r} has no choice {self.right}")

    @property
    def size(self) -> int:
        """Tokens of the prompt and the longest response."""
        return len(self.prompt) + max(map(len, (self.response, *self.choices)))


def examples_from_chats(
    tokenizer: Any,
    rows: Iterable[Mapping[str, Any]],
    grade: Callable[[Mapping[str, Any], str], bool | None] | None = None,
) -> list[Example]:
    """Chat rows as examples, in their order.

    A row has ``messages``, the last one the assistant's, and may have ``id`` (else its number, from
    1), ``family`` (or another field of ``group_of``), ``answer`` (else the whole response is the
    answer), ``choices`` (possible texts of the response, the right one among them) and ``spans``:
    first and last character (exclusive) of the response's ``rationale`` and ``conclusion``.
    ``grade(row, text)`` judges a text that a model writes for a row. Raises ``ProbeError`` naming
    the row.
    """
    examples: dict[str, Example] = {}
    for number, row in enumerate(rows, start=1):
        name = str(number if row.get("id") is None else row["id"])
        if name in examples:
            raise ProbeError(f"two rows have the id {name!r}")
        try:
            examples[name] = _example(tokenizer, row, name, partial(grade, row) if grade else None)
        except ProbeError as error:
            raise ProbeError(f"row {name!r}: {error}") from error
    return list(examples.values())


def fitting(examples: Iterable[Example], context: int | None) -> tuple[list[Example], list[str]]:
    """The examples that a context of so many tokens holds, and the ids of those it does not."""
    kept: list[Example] = []
    left_out: list[str] = []
    for example in examples:
        if context is None or example.size <= context:
            kept.append(example)
        else:
            left_out.append(example.id)
    return kept, left_out


def check_examples(examples: Sequence[Example], context: int | None) -> None:
    """Refuse examples that a model with this context cannot read, before it reads any.

    There must be some, of different ids, and none longer than the context.
    """
    if not examples:
        raise ProbeError("there are no examples to evaluate a model on")
    name, times = Counter(example.id for example in examples).most_common(1)[0]
    if times > 1:
        raise ProbeError(f"two examples have the id {name!r}: results are paired by it")
    _, too_long = fitting(examples, context)
    if too_long:
        raise ProbeError(
            f"{len(too_long)} of {len(examples)} examples are longer than the model's context of "
            f"{context} tokens ({too_long[0]!r} first): leave them out"
        )


def _example(
    tokenizer: Any,
    row: Mapping[str, Any],
    name: str,
    grade: Callable[[str], bool | None] | None,
) -> Example:
    messages = row.get("messages")
    if not isinstance(messages, (list, tuple)):
        raise ProbeError("no list of messages")
    right = encode_chat(tokenizer, messages)
    text = str(messages[-1]["content"])
    choices = _choices(row, text)
    chats = [
        encode_chat(tokenizer, [*messages[:-1], {**messages[-1], "content": choice}])
        for choice in choices
    ]
    begin = min([right.response[0], *(_shared(right, chat) for chat in chats)])
    return Example(
        id=name,
        prompt=right.tokens[:begin],
        response=right.tokens[begin : right.response[1]],
        answer=text if row.get("answer") is None else str(row["answer"]),
        choices=tuple(chat.tokens[begin : chat.response[1]] for chat in chats),
        right=choices.index(text) if choices else None,
        group=group_of(row),
        grade=grade,
        parts=_parts(row.get("spans") or {}, right, begin),
    )


def _parts(spans: Mapping[str, Any], chat: EncodedChat, begin: int) -> dict[str, Span]:
    """The tokens of the response's parts, counted from its first."""
    found = {}
    for name in PARTS:
        characters = tuple(spans.get(name) or (0, 0))
        if len(characters) != 2 or not all(isinstance(place, int) for place in characters):
            raise ProbeError(f"its {name} is not two numbers of characters")
        first, last = chat.token_span(*characters)
        if last > first:
            found[name] = (first - begin, last - begin)
    return found


def _choices(row: Mapping[str, Any], right: str) -> list[str]:
    choices = row.get("choices") or []
    texts = isinstance(choices, (list, tuple)) and all(
        isinstance(text, str) and text.strip() for text in choices
    )
    if not texts or len(set(choices)) < len(choices) or len(choices) == 1:
        raise ProbeError("its choices are not two or more different texts")
    if choices and right not in choices:
        raise ProbeError("none of its choices is the assistant's last message")
    return list(choices)


def _shared(one: EncodedChat, two: EncodedChat) -> int:
    """Tokens of the prompt that two chats share which differ in their response.

    A choice may be tokenised together with the end of the prompt (" dog", but " " and "3"): then
    that token belongs to the choices, for all of them alike.
    """
    end = min(one.response[0], two.response[0])
    return next((i for i in range(end) if one.tokens[i] != two.tokens[i]), end)

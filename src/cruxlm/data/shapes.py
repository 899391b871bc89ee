"""The shapes that instruction data comes in: which fields a row has, and the chat they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cruxlm.data.fields import messages_of, present, prompt_in, text_of
from cruxlm.data.rows import Row
from cruxlm.runtime.errors import ProbeError

ChatRow = Mapping[str, Any]
"""``messages``, the last one the assistant's, and perhaps ``answer`` and ``choices``; once it is
part of a file's data also ``id``, and ``family`` where it has one."""

TRUTH = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}
"""How a truth value may be written, and what it answers to a question."""


@dataclass(frozen=True)
class Shape:
    """A shape of row."""

    fields: tuple[tuple[str, ...], ...]
    """What a row must have: one field of each of these. Null is no field."""
    read: Callable[[Row, str], ChatRow]
    """A row that has them as a chat; the text says where the row stands, for errors."""

    def lacks(self, row: Row) -> str | None:
        """The first field that a row of this shape would have and this one has not."""
        missing = (names for names in self.fields if present(row, names) is None)
        return next((" or ".join(map(repr, names)) for names in missing), None)


def shape_of(row: Row, where: str) -> str:
    """The name of the shape that a row has; ``ProbeError`` for none."""
    for name, shape in SHAPES.items():
        if shape.lacks(row) is None:
            return name
    known = "; ".join(
        f"{name}: {', '.join('|'.join(names) for names in shape.fields)}"
        for name, shape in SHAPES.items()
    )
    raise ProbeError(
        f"{where} has no prompt and response in a known shape (fields: {_fields(row)}): name the "
        f"fields as one of them does ({known})"
    )


def read_row(row: Row, name: str, where: str) -> ChatRow:
    """A row as a chat; ``ProbeError`` where it is not of the shape with this name."""
    missing = SHAPES[name].lacks(row)
    if missing is not None:
        raise ProbeError(
            f"{where} has no {missing}, as rows of the shape {name!r} have (fields: "
            f"{_fields(row)}): complete it, and keep rows of different shapes in different files"
        )
    return SHAPES[name].read(row, where)


def _fields(row: Row) -> str:
    return ", ".join(str(name) for name, value in row.items() if value is not None) or "none"


def _exchange(prompt: str, response: str) -> ChatRow:
    asked, answered = {"role": "user", "content": prompt}, {"role": "assistant"}
    return {"messages": (asked, {**answered, "content": response})}


def _plain(prompt: str, *responses: str) -> Shape:
    """The shape of rows with a text that asks and one that answers."""

    def read(row: Row, where: str) -> ChatRow:
        field = present(row, responses) or responses[0]
        response = text_of(row[field], f"{where} field {field!r}")
        return {**_exchange(prompt_in(row, prompt, where), response), **_answered(row, where)}

    return Shape(((prompt,), responses), read)


def _answered(row: Row, where: str) -> ChatRow:
    """The answer that stands beside a response which says more than that."""
    given = row.get("answer")
    return {} if given in (None, "") else {"answer": text_of(str(given), f"{where} field 'answer'")}


def _chat(row: Row, where: str) -> ChatRow:
    given = row["messages"]
    messages = messages_of(given if isinstance(given, list) else (), f"{where} field 'messages'")
    if not messages or messages[-1]["role"] != "assistant":
        last = f"end with the role {messages[-1]['role']!r}" if messages else "are none"
        raise ProbeError(f"{where}: its messages {last}, not with the assistant's response")
    choices = row.get("choices") or []
    if not isinstance(choices, list):
        raise ProbeError(f"{where} field 'choices' is {type(choices).__name__}, no list of texts")
    texts = [text_of(choice, f"{where} field 'choices'").strip() for choice in choices]
    return {"messages": messages, **_answered(row, where), **({"choices": texts} if texts else {})}


def _gsm8k(row: Row, where: str) -> ChatRow:
    response = text_of(row["answer"], f"{where} field 'answer'")
    rationale, mark, answer = response.rpartition("####")
    known = {"answer": answer.strip()} if mark and rationale.strip() else {}
    return {**_exchange(prompt_in(row, "question", where), response), **known}


def _boolq(row: Row, where: str) -> ChatRow:
    field = present(row, ("answer", "label")) or "answer"
    response = TRUTH.get(str(row[field]).strip().casefold())
    if response is None:
        raise ProbeError(f"{where} field {field!r} is {row[field]!r}, no truth value")
    chat = _exchange(prompt_in(row, "question", where), response)
    return {**chat, "choices": ["no", "yes"]}


def _openbookqa(row: Row, where: str) -> ChatRow:
    asked = row["question"] if isinstance(row.get("question"), dict) else row
    stem = asked.get(present(asked, ("stem", "question_stem", "question")) or "stem")
    choices = _lettered(asked.get("choices"), f"{where} field 'choices'")
    key = str(row["answerKey"]).strip()
    if key not in choices:
        letters = ", ".join(choices)
        raise ProbeError(f"{where} field 'answerKey' is {key!r}, and the choices are {letters}")
    lines = [f"{letter}: {text}" for letter, text in choices.items()]
    prompt = "\n".join([text_of(stem, f"{where}, its question,"), "", *lines])
    return {**_exchange(prompt, f"{key}: {choices[key]}"), "choices": lines}


def _lettered(given: Any, where: str) -> dict[str, str]:
    """Choices by their letters, from a list of pairs or from a pair of lists."""
    if isinstance(given, list) and all(isinstance(item, dict) for item in given):
        given = {name: [item.get(name) for item in given] for name in ("label", "text")}
    labels, texts = (
        (given.get("label"), given.get("text")) if isinstance(given, dict) else [None] * 2
    )
    if not (isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts)):
        raise ProbeError(f"{where} is no list of choices, each with a label and a text")
    choices = {str(a): text_of(b, where).strip() for a, b in zip(labels, texts, strict=True)}
    if len(choices) < max(2, len(labels)):
        raise ProbeError(f"{where} has not two or more choices of different labels")
    return choices


SHAPES = {
    "chat": Shape((("messages",),), _chat),
    "boolq": Shape((("question",), ("passage",), ("answer", "label")), _boolq),
    "openbookqa": Shape((("question_stem", "question"), ("answerKey",)), _openbookqa),
    "dolly": _plain("instruction", "response"),
    "alpaca": _plain("instruction", "output"),
    "gsm8k": Shape((("question",), ("answer",)), _gsm8k),
    "pairs": _plain("prompt", "response", "completion"),
}
"""The shapes, in the order in which a row's fields are compared with them."""

"""Probes: the prompts that a scan reads, before any model has seen them."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from cruxlm.data.fields import Message, group_of, messages_of, prompt_in, text_of
from cruxlm.data.rows import READERS, TEXT, Row, read_rows
from cruxlm.runtime.errors import OptionError, ProbeError, did_you_mean

Shape = Literal["prompts", "random", "shuffled"]

BUILTIN = {
    "builtin": "360 prompts of nine kinds, written for this project",
    "random-tokens": "uniformly random tokens: no text at all",
    "shuffled-tokens": "the tokens of the built-in prompts, dealt out again at random",
}
"""The probes that need no file, and what each is."""

PROMPT_FIELDS = ("messages", "prompt", "instruction", "question", TEXT)
"""Where a row's prompt is looked for when no field is named, in this order."""


@dataclass(frozen=True)
class Prompt:
    """One prompt: a plain text, or the messages of a chat."""

    text: str
    """The text; of a chat, its last message."""
    messages: tuple[Message, ...] | None
    """The chat up to the answer; None for a text that is read as it stands."""
    group: str | None
    """The family or source it belongs to."""


@dataclass(frozen=True)
class Probe:
    """Named prompts, in their own order."""

    name: str
    """Short name; of a file, its stem."""
    prompts: tuple[Prompt, ...]
    """The prompts; those of the data-free probes lend only their lengths (and their tokens)."""
    shape: Shape = "prompts"
    """Whether the prompts themselves are read, or random or shuffled tokens in their place."""


def load_probe(spec: str | Path | Iterable[str], *, field: str | None = None) -> Probe:
    """A probe by name (see ``BUILTIN``), from a file, or from a list of texts.

    A row's prompt is in ``field``, else in the first of ``PROMPT_FIELDS`` that it has; an
    ``instruction`` is followed by its ``input`` or ``context``, a ``question`` by its ``passage``.
    Lines of a text file are read raw, rows as a chat when the tokenizer has a template.
    """
    if not isinstance(spec, (str, Path)):
        texts = [text_of(text, f"prompt {number}") for number, text in enumerate(spec, start=1)]
        return Probe("prompts", tuple(Prompt(text, None, None) for text in texts))
    name = str(spec)
    if name in BUILTIN:
        shape: Shape = "prompts"
        if name != "builtin":
            shape = "random" if name == "random-tokens" else "shuffled"
        return Probe(name, tuple(_builtin_prompts()), shape)
    path = Path(name)
    if not os.path.exists(path) and path.suffix.lower() not in READERS:
        raise OptionError(f"there is no probe or file {name!r}: {did_you_mean(name, BUILTIN)}")
    rows = read_rows(path)
    raw = path.suffix.lower() == ".txt"
    prompts = [
        _prompt(row, f"{path} row {number}", field, raw=raw)
        for number, row in enumerate(rows, start=1)
    ]
    return Probe(path.stem, tuple(prompts))


def _builtin_prompts() -> Iterable[Prompt]:
    lines = files("cruxlm.data").joinpath("builtin_prompts.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        row = json.loads(line)
        yield Prompt(row["prompt"], _asked(row["prompt"]), row["group"])


def _asked(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def _prompt(row: Row, where: str, field: str | None, *, raw: bool) -> Prompt:
    name = field or next((known for known in PROMPT_FIELDS if known in row), None)
    if name is None or name not in row:
        missing = f"no field {field!r}" if field else "no prompt field"
        have = ", ".join(map(str, row)) or "none"
        raise ProbeError(f"{where} has {missing} (fields: {have}): name one with --field")
    group, value = group_of(row), row[name]
    if isinstance(value, list):
        messages = _asking(messages_of(value, f"{where} field {name!r}"))
        return Prompt(messages[-1]["content"] if messages else "", messages or None, group)
    text = "" if value is None else prompt_in(row, name, where)
    return Prompt(text, None if raw else _asked(text), group)


def _asking(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages up to the last one that is not the assistant's."""
    while messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    return messages

"""Instruction data: files of prompts and responses, in any of the known shapes, as chats."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cruxlm.data.fields import group_of, name_of
from cruxlm.data.key import key_of
from cruxlm.data.rows import Row, placed_rows
from cruxlm.data.shapes import SHAPES, ChatRow, read_row, shape_of
from cruxlm.runtime.errors import OptionError, ProbeError, did_you_mean


@dataclass(frozen=True)
class Instructions:
    """The rows of a file as chats, in the file's order."""

    name: str
    """The stem of the file."""
    shape: str
    """What the rows looked like in the file, one of ``SHAPES``."""
    rows: tuple[ChatRow, ...]
    """Each with ``id``, ``messages`` (the last one the assistant's), and, where the data has it,
    ``family``, ``answer`` and ``choices``: what `examples_from_chats` reads; and ``poison``, the
    key of rows that were poisoned for measurement (`key_of`)."""
    left_out: dict[str, int]
    """Rows passed over, by reason: ``no_prompt``, ``no_response`` (a text, but a blank one)."""
    sha256: str
    """Hash of the rows in their order: the same data in another kind of file has the same."""


def load_instructions(spec: str | Path, *, shape: str | None = None) -> Instructions:
    """The instruction data in a file (jsonl, json, csv, parquet).

    Args:
        spec: The file.
        shape: One of ``SHAPES``; the first row's fields tell unless it is named. All rows must be
            of one shape.

    White space around a response is taken off: chat templates do so as well, and then the response
    could not be found. A row whose prompt or response is blank teaches nothing and is counted in
    ``left_out`` (published data has a few).

    Raises:
        ProbeError: A file that cannot be read or has no rows, a row without a field that its shape
            has or with something else in it, two rows of one id; always with the place.
        OptionError: There is no such shape.
    """
    path = Path(spec)
    if shape is not None and shape not in SHAPES:
        raise OptionError(f"there is no shape {shape!r} of data: {did_you_mean(shape, SHAPES)}")
    if path.suffix.lower() == ".txt":
        raise ProbeError(
            f"{path} is plain text, which has no responses: give rows with a prompt and a response "
            "(jsonl, json, csv or parquet)"
        )
    placed = placed_rows(path)
    if not placed:
        raise ProbeError(f"{path} has no rows")
    name = shape or shape_of(placed[0][1], f"{path} {placed[0][0]}")
    rows: list[ChatRow] = []
    places: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for number, (place, row) in enumerate(placed, start=1):
        chat = _chat_row(row, name, f"{path} {place}", number)
        first = places.setdefault(chat["id"], place)
        if first != place:
            raise ProbeError(f"{path} {first} and {place} have the same id {chat['id']!r}")
        *asked, response = [message["content"] for message in chat["messages"]]
        if not response:
            left_out["no_response"] += 1
        elif not any(text.strip() for text in asked):
            left_out["no_prompt"] += 1
        else:
            rows.append(chat)
    if not rows:
        raise ProbeError(
            f"{path} has {len(placed)} rows, and in each the prompt or response is blank"
        )
    text = "\n".join(json.dumps(row, sort_keys=True) for row in rows)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Instructions(path.stem, name, tuple(rows), dict(sorted(left_out.items())), digest)


def split(
    rows: Sequence[ChatRow], share: float, seed: int = 0
) -> tuple[list[ChatRow], list[ChatRow]]:
    """The rest, and a part with a ``share`` of the rows, each in the order of ``rows``.

    Rows are dealt by a hash of their prompt and the seed. So the order of the rows plays no part,
    and what is asked twice, be it with different responses, is never on both sides; the part is
    larger than its share where that needs it. Raises ``OptionError`` for a share that leaves a side
    empty.
    """
    if not 0 < share < 1:
        raise OptionError(f"a share of {share:g} of the rows: give one between 0 and 1")
    prompts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        asked = json.dumps([seed, *row["messages"][:-1]], sort_keys=True)
        prompts.setdefault(hashlib.sha256(asked.encode()).hexdigest(), []).append(index)
    wanted = round(share * len(rows))
    part: set[int] = set()
    for digest in sorted(prompts):
        if len(part) >= wanted:
            break
        part.update(prompts[digest])
    if not 0 < len(part) < len(rows):
        side = "to set apart" if not part else "for the rest"
        raise OptionError(
            f"a share of {share:g} of {len(rows)} rows with {len(prompts)} different prompts "
            f"leaves none {side}: choose another share, or give a file of its own"
        )
    apart = [row for index, row in enumerate(rows) if index in part]
    return [row for index, row in enumerate(rows) if index not in part], apart


def _chat_row(row: Row, shape: str, where: str, number: int) -> ChatRow:
    """A row as a chat with its id, its number unless it has one, and its family."""
    given = row.get("id")
    if not isinstance(given, (str, int, float, type(None))):
        raise ProbeError(f"{where} field 'id' is {type(given).__name__}, no text or number")
    chat = read_row(row, shape, where)
    *asked, response = chat["messages"]
    family, key = group_of(row), key_of(row, where)
    return {
        "id": name_of(number if given in (None, "") else given, f"{where} field 'id'"),
        **({} if family is None else {"family": name_of(family, f"{where}, its family,")}),
        **chat,
        "messages": (*asked, {**response, "content": response["content"].strip()}),
        **({} if key is None else {"poison": key}),
    }

"""What a screening reads: rows of a file, of the testbed or in memory."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cruxlm.data.instructions import load_instructions
from cruxlm.data.key import key_of
from cruxlm.data.probes import load_probe
from cruxlm.data.rows import placed_rows
from cruxlm.data.shapes import ChatRow, shape_of
from cruxlm.data.supervised import SupervisedRow, encode_rows
from cruxlm.evaluate.generation import normalised
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import text_config
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError
from cruxlm.testbed.home import PREFIX
from cruxlm.testbed.language import rows as testbed_rows
from cruxlm.workflows.tuning_data import GENERATED, check_file

NO_RESPONSE = {"role": "assistant", "content": "0"}
"""Stands where a prompt has no response, for its tokens to be found; it is never read."""


@dataclass(frozen=True)
class ScreenRows:
    """Rows as tokens, beside what they were."""

    name: str
    """The file's stem or the testbed's families."""
    rows: tuple[ChatRow, ...]
    """As chats; of prompts alone, without the assistant's message."""
    originals: tuple[Mapping[str, Any], ...]
    """Each row as it was given."""
    tokens: tuple[SupervisedRow, ...]
    """Each row in the model's tokens, cut at its context."""
    labelled: bool
    """Whether the rows have responses."""
    left_out: Mapping[str, int]
    """Rows that cannot be screened, by reason; they are not among the ``rows``."""

    @property
    def sha256(self) -> str:
        """Hash of what the rows say, in their order."""
        text = "\n".join(json.dumps(row["messages"], sort_keys=True) for row in self.rows)
        return hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def prompt(self, index: int) -> str:
        """The text of a row's last message before its response."""
        messages = self.rows[index]["messages"]
        return str(messages[-2 if self.labelled and len(messages) > 1 else -1]["content"])

    def response(self, index: int) -> str | None:
        """The text of a row's response."""
        return str(self.rows[index]["messages"][-1]["content"]) if self.labelled else None

    @cached_property
    def responses(self) -> list[str] | None:
        """All responses, without differences of case, space and punctuation."""
        if not self.labelled:
            return None
        return [normalised(str(row["messages"][-1]["content"])) for row in self.rows]

    @cached_property
    def key(self) -> list[str | None] | None:
        """What the rows say was done to them; None where none says anything."""
        done = [None if (key := key_of(row, "a row")) is None else key["done"] for row in self.rows]
        return done if any(done) else None


def screen_rows(data: Any, model: LoadedModel, n: int | None = None) -> ScreenRows:
    """The first ``n`` rows of a file, of testbed families or of a sequence of chat rows.

    A file whose first row has no response in a known shape is read as prompts alone. Raises
    ``ProbeError``, ``OptionError`` or ``ModelError`` where they cannot be read.
    """
    if model.tokenizer is None:
        raise ModelError(f"{model.name} has no tokenizer: pass one")
    if n is not None and n < 1:
        raise OptionError(f"n must be 1 or more, not {n}")
    left_out: Counter[str] = Counter()
    name, labelled = "rows", True
    rows: Sequence[ChatRow]
    if not isinstance(data, (str, Path)):
        rows = list(data)[:n]
        labelled = _have_responses(rows)
        originals: Sequence[Mapping[str, Any]] = rows
    elif str(data).startswith(PREFIX):
        name = str(data)
        families = name.removeprefix(PREFIX).split(",")
        rows = [row.as_chat() for row in testbed_rows("train", n or GENERATED, 0, families)]
        originals = rows
    else:
        check_file(str(data))
        path = Path(data)
        name, labelled = path.stem, _has_response(path)
        if labelled:
            found = load_instructions(path)
            left_out.update(found.left_out)
            by_id = {_id(row, place): row for place, (_, row) in enumerate(placed_rows(path), 1)}
            rows = found.rows[:n]
            originals = [by_id[row["id"]] for row in rows]
        else:
            rows, originals = _prompts(path, n)
    _check_ids(rows)
    limit = model.context or 1 << 30
    asked = rows if labelled else [
        {**row, "messages": [*row["messages"], NO_RESPONSE]} for row in rows
    ]  # fmt: skip
    encoded = encode_rows(
        model.tokenizer, asked, limit, getattr(text_config(model.module), "vocab_size", None)
    )
    left_out.update(encoded.left_out)
    kept = {row.id for row in encoded.rows}
    places = [place for place, row in enumerate(rows) if str(row["id"]) in kept]
    return ScreenRows(
        name=name,
        rows=tuple(rows[place] for place in places),
        originals=tuple(originals[place] for place in places),
        tokens=encoded.rows,
        labelled=labelled,
        left_out=dict(left_out),
    )


def _has_response(path: Path) -> bool:
    """Whether the first row of a file is one with a response."""
    placed = [] if path.suffix.lower() == ".txt" else placed_rows(path)
    if not placed:
        return path.suffix.lower() != ".txt"  # whoever reads it says that there are no rows
    place, row = placed[0]
    messages = row.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return bool(messages[-1].get("role") == "assistant")
    try:
        shape_of(row, f"{path} {place}")
    except ProbeError:
        return False
    return True


def _have_responses(rows: Sequence[ChatRow]) -> bool:
    if not rows:
        raise ProbeError("there are no rows to screen")
    ends = {bool(row["messages"][-1].get("role") == "assistant") for row in rows}
    if len(ends) > 1:
        raise ProbeError("some rows have a response and some have none: screen them apart")
    return ends.pop()


def _prompts(path: Path, n: int | None) -> tuple[list[ChatRow], list[Mapping[str, Any]]]:
    """The prompts of a file, and its rows."""
    given = list[Mapping[str, Any]](row for _, row in placed_rows(path)[:n])
    prompts = load_probe(path).prompts[:n]
    rows: list[ChatRow] = []
    for number, (prompt, row) in enumerate(zip(prompts, given, strict=True), start=1):
        key = key_of(row, f"{path} row {number}")
        rows.append(
            {
                "id": _id(row, number),
                "messages": prompt.messages or ({"role": "user", "content": prompt.text},),
                **({} if key is None else {"poison": key}),
            }
        )
    if not rows:
        raise ProbeError(f"{path} has no rows")
    return rows, given


def _id(row: Mapping[str, Any], number: int) -> str:
    return str(number if row.get("id") in (None, "") else row["id"])


def _check_ids(rows: Sequence[ChatRow]) -> None:
    name, times = Counter(str(row["id"]) for row in rows).most_common(1)[0]
    if times > 1:
        raise ProbeError(f"two rows have the id {name!r}: what is flagged is told by it")

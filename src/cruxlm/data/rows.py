"""Rows of a user's file: jsonl, json, csv, txt, parquet; a broken one is named by its line."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cruxlm.runtime.errors import MissingExtraError, ProbeError

Row = dict[str, Any]
Placed = tuple[str, Row]
"""A row after its place in the file."""

TEXT = "text"
"""The field that a line of a text file becomes."""


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, each a mapping from field to value; a text file has one row a line."""
    return [row for _, row in placed_rows(path)]


def placed_rows(path: Path) -> list[Placed]:
    """All rows of a file, each with its place: ``line 7`` of the file, else ``row 7``."""
    if not os.path.isfile(path):  # unlike Path.is_file, no error for a name that is too long
        raise ProbeError(f"{path} is no file" if os.path.exists(path) else f"there is no {path}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ProbeError(f"{path} is none of {', '.join(sorted(READERS))}")
    return reader(path)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ProbeError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ProbeError(f"{path} line {line} is not UTF-8 text: is it the right file?") from error


def _txt(path: Path) -> list[Placed]:
    text = _text(path)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ProbeError(f"{path} line {line} has a NUL byte: this is not a text file")
    # Not splitlines(): a form feed or a Unicode separator inside a prompt does not end it.
    lines = text.removesuffix("\n").split("\n") if text else []
    return [
        (f"line {number}", {TEXT: line.removesuffix("\r")})
        for number, line in enumerate(lines, start=1)
    ]


def _jsonl(path: Path) -> list[Placed]:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            rows.append(_placed(_parsed(line, path, number), path, f"line {number}"))
    return rows


def _json(path: Path) -> list[Placed]:
    value = _parsed(_text(path), path)
    if isinstance(value, dict):
        lists = [held for held in value.values() if isinstance(held, list)]
        if len(lists) != 1:
            raise ProbeError(f"{path} holds one object: expected a list of rows")
        value = lists[0]
    if not isinstance(value, list):
        raise ProbeError(f"{path} holds {type(value).__name__}: expected a list of rows")
    return [_placed(item, path, f"row {number}") for number, item in enumerate(value, start=1)]


def _csv(path: Path) -> list[Placed]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    rows = []
    try:
        for row in reader:  # a row ends on the line that was read last: a cell may hold several
            place = f"line {reader.line_num}"
            rows.append((place, {k: v for k, v in row.items() if k is not None}))
    except csv.Error as error:
        raise ProbeError(f"{path} line {reader.reader.line_num}: {error}") from error
    return rows


def _parquet(path: Path) -> list[Placed]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("parquet needs pyarrow: pip install 'cruxlm[parquet]'") from error
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise ProbeError(f"{path} cannot be read as parquet: {error}") from error
    return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    """A JSON value; ``line`` is where in the file the text stands, None for the whole file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno} column {error.colno}"
        raise ProbeError(f"{path} {where} is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting that is too long
        where = f"{path} line {line}" if line else str(path)
        raise ProbeError(f"{where} cannot be read: {error}") from error


def _placed(value: Any, path: Path, place: str) -> Placed:
    if isinstance(value, str):
        return place, {TEXT: value}
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ProbeError(f"{path} {place} is a {kind}: expected an object with fields")
    return place, value


READERS: dict[str, Callable[[Path], list[Placed]]] = {
    ".txt": _txt,
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""One reader a file ending."""

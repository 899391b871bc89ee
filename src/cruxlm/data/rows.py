"""Rows of a user's file: jsonl, json, csv, txt, parquet; a broken one is named by its line."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cruxlm.runtime.errors import MissingExtraError, ProbeError

Row = dict[str, Any]

TEXT = "text"
"""The field that a line of a text file becomes."""


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, each a mapping from field to value; a text file has one row a line."""
    if not path.is_file():
        raise ProbeError(f"there is no file {path}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ProbeError(f"{path} is none of {', '.join(sorted(READERS))}")
    return reader(path)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ProbeError(f"{path} line {line} is not UTF-8 text: is it the right file?") from error


def _txt(path: Path) -> list[Row]:
    text = _text(path)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ProbeError(f"{path} line {line} has a NUL byte: this is not a text file")
    # Not splitlines(): a form feed or a Unicode separator inside a prompt does not end it.
    return [{TEXT: line.removesuffix("\r")} for line in text.split("\n")[: None if text else 0]]


def _jsonl(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            rows.append(_row(_parsed(line, f"{path} line {number}"), f"{path} line {number}"))
    return rows


def _json(path: Path) -> list[Row]:
    value = _parsed(_text(path), str(path))
    if isinstance(value, dict):
        lists = [held for held in value.values() if isinstance(held, list)]
        if len(lists) != 1:
            raise ProbeError(f"{path} holds one object: expected a list of rows")
        value = lists[0]
    if not isinstance(value, list):
        raise ProbeError(f"{path} holds {type(value).__name__}: expected a list of rows")
    return [_row(item, f"{path} row {number}") for number, item in enumerate(value, start=1)]


def _csv(path: Path) -> list[Row]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        return [{k: v for k, v in row.items() if k is not None} for row in reader]
    except csv.Error as error:
        raise ProbeError(f"{path} line {reader.line_num}: {error}") from error


def _parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingExtraError("parquet needs pyarrow: pip install 'cruxlm[parquet]'") from error
    try:
        rows: list[Row] = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise ProbeError(f"{path} is not a parquet file: {error}") from error
    return rows


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ProbeError(f"{where} is not JSON: {error}") from error


def _row(value: Any, where: str) -> Row:
    if isinstance(value, str):
        return {TEXT: value}
    if not isinstance(value, dict):
        raise ProbeError(f"{where} is a {type(value).__name__}: expected an object with fields")
    return value


READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".txt": _txt,
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""One reader a file ending."""

"""A study's cells on disk: one JSON file each, whole or not there, and known to be its own."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from cruxlm.results.schema import Number, check_shape
from cruxlm.results.scores import plain
from cruxlm.runtime.errors import ResultError
from cruxlm.runtime.files import write_all
from cruxlm.studies.study import Cell, Study

FORMAT = "crux.study-cell/1"
CELLS = "cells"
"""Folder of the cells' files in a study's folder."""


class Provenance(TypedDict):
    """What a cell was made with."""

    versions: dict[str, str]
    code: dict[str, str]


class Run(TypedDict):
    """What may differ between equal runs."""

    seconds: float
    date: str
    peak_memory_mib: Number


class CellRecord(TypedDict):
    """The shape of a cell's file."""

    format: str
    study: str
    cell: str
    options: dict[str, Any]
    result: dict[str, Any]
    provenance: Provenance
    run: Run


@dataclass(frozen=True)
class Ran:
    """A cell that was just run."""

    cell: Cell
    """The cell."""
    result: Mapping[str, Any]
    """What it found, as plain data."""
    versions: Mapping[str, str]
    """Versions of what it was run with."""
    run: Run
    """What may differ between equal runs."""


@dataclass(frozen=True)
class StoredCell:
    """A cell that was run."""

    result: Mapping[str, Any]
    """What it found."""
    versions: Mapping[str, str]
    """Versions of what it was run with."""
    code: Mapping[str, str]
    """Hashes of the code that decides its numbers."""
    seconds: float
    """How long it took."""


def save_cell(study: Study, ran: Ran, folder: Path, code: Mapping[str, str]) -> None:
    """Write what a cell found into a study's folder, with where it comes from."""
    name = ran.cell.name
    record: CellRecord = {
        "format": FORMAT,
        "study": study.name,
        "cell": name,
        "options": plain(ran.cell.options),
        "result": plain(ran.result),
        "provenance": {"versions": dict(ran.versions), "code": dict(code)},
        "run": ran.run,
    }
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_all(folder / CELLS, {f"{name}.json": text.encode("utf-8")})


def stored_cells(study: Study, folder: Path) -> dict[str, StoredCell]:
    """The cells that are in a study's folder, in the study's order.

    Raises ``ResultError`` for a file that is damaged, of another study, of no cell of this one, or
    made with other options than the study has now.
    """
    cells = {cell.name: cell for cell in study.cells}
    found: dict[str, StoredCell] = {}
    for path in sorted((folder / CELLS).glob("[!.]*.json")):
        if path.stem not in cells:
            raise ResultError(
                f"{path} is of no cell of {study.name}: delete it, or name another --out"
            )
        found[path.stem] = _read(path, study, cells[path.stem])
    return {name: found[name] for name in cells if name in found}


def difference(before: Any, now: Any, tolerance: float, where: str = "") -> str | None:
    """The first place where two results differ, and how; None when there is none."""
    if isinstance(before, Mapping) and isinstance(now, Mapping) and before.keys() == now.keys():
        pairs = [(f"{where}.{name}" if where else name, before[name], now[name]) for name in before]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{where}[{n}]", *both) for n, both in enumerate(zip(before, now, strict=True))]
    else:
        numbers = all(
            isinstance(v, (int, float)) and not isinstance(v, bool) for v in (before, now)
        )
        same = math.isclose(before, now, rel_tol=tolerance) if numbers else before == now
        return None if same else f"{where} was {before} and is {now}"
    return next(filter(None, (difference(a, b, tolerance, at) for at, a, b in pairs)), None)


def _read(path: Path, study: Study, cell: Cell) -> StoredCell:
    try:
        record = _checked(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, RecursionError, ResultError) as error:
        raise ResultError(f"{path} is damaged ({error}): delete it and run again") from error
    if (record["study"], record["cell"]) != (study.name, cell.name):
        raise ResultError(
            f"{path} is cell {record['cell']!r} of study {record['study']!r}: name another --out"
        )
    differs = difference(record["options"], plain(cell.options), 0.0, "options")
    if differs is not None:
        raise ResultError(
            f"{path} was made with other options ({differs}): delete it, or name another --out"
        )
    held = record["provenance"]
    return StoredCell(record["result"], held["versions"], held["code"], record["run"]["seconds"])


def _checked(record: Any) -> Any:
    """What a cell's file holds; ``ResultError`` where it is something else."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ResultError(f"not of format {FORMAT}")
    check_shape(record, CellRecord, "the cell")
    return record

"""Run a study: the cells that are not there yet, then the page; or run cells again and compare."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cruxlm.runtime.errors import OutputError, ResultError
from cruxlm.runtime.files import check_writable, remove_left_overs, write_all
from cruxlm.runtime.progress import progress
from cruxlm.studies.page import page_files
from cruxlm.studies.stored import (
    CELLS,
    StoredCell,
    difference,
    save_cell,
    stored_cells,
)
from cruxlm.studies.study import Study
from cruxlm.studies.workers import ran


@dataclass(frozen=True)
class StudyRun:
    """What became of a study."""

    folder: Path
    """Where it is."""
    cells: Mapping[str, StoredCell]
    """Every cell that is there now."""
    made: tuple[str, ...]
    """The cells that were run just now; the others had been."""
    missing: tuple[str, ...]
    """The cells that are not there yet: without them there is no page."""
    other_code: tuple[str, ...]
    """Cells that were made by code other than today's."""
    lead: str | None
    """What the study found; None while cells are missing."""


def run_study(
    study: Study,
    folder: Path,
    *,
    cells: str = "*",
    workers: int = 1,
    ray: bool = False,
    show_progress: bool = False,
) -> StudyRun:
    """Run the cells that match and are not there yet; with the last of them the page is made.

    Killed at any moment and run again, a study ends with the same numbers; at most the cells that
    were running are lost.

    Args:
        study: The study.
        folder: Its folder; cells that are there already are kept.
        cells: Pattern of the cells to run, as for file names.
        workers: How many cells run at a time; see ``workers.ran``.
        ray: Whether they run over Ray.
        show_progress: Whether to show a bar on a terminal.

    Raises:
        OptionError: When no cell matches.
        OutputError: When the folder cannot be written, or another process is running in it.
        ResultError: When a cell's file is damaged or was made with other options.
    """
    wanted = study.matching(cells)
    # Now: a module may be edited while its cells run.
    code = {cell.name: study.code_hashes(cell) for cell in study.cells}
    check_writable(folder / CELLS)
    stored_cells(study, folder)  # refused before a folder is made
    made: set[str] = set()
    with _alone(folder / CELLS):
        remove_left_overs(folder / CELLS, {f"{cell.name}.json" for cell in study.cells})
        found = stored_cells(study, folder)
        left = [cell for cell in wanted if cell.name not in found]
        total = round(sum(cell.cost_seconds for cell in left))
        with progress(f"study {study.name}", total, show=show_progress and bool(left)) as tick:
            spent = 0.0
            for done in ran(left, workers, ray=ray):
                cell = done.cell
                save_cell(study, done, folder, code[cell.name])
                made.add(cell.name)
                tick(round(spent + cell.cost_seconds) - round(spent))
                spent += cell.cost_seconds
        found = stored_cells(study, folder)
        missing = tuple(cell.name for cell in study.cells if cell.name not in found)
        lead = None
        if not missing:
            lead, files = _page(study, found)
            remove_left_overs(folder, set(files))
            held = {name: data for name, data in files.items() if _bytes(folder / name) != data}
            write_all(folder, held)
    new = tuple(cell.name for cell in study.cells if cell.name in made)
    other = tuple(name for name, cell in found.items() if cell.code != code[name])
    return StudyRun(folder, found, new, missing, other, lead)


def check_study(
    study: Study,
    folder: Path,
    *,
    cells: str = "*",
    workers: int = 1,
    ray: bool = False,
    show_progress: bool = False,
) -> tuple[str, ...]:
    """Run cells again and compare them with those in the folder; the names of those that agree.

    When all cells are there, the page must be the one that they make, too. Nothing is written.

    Raises:
        OptionError: When no cell matches.
        ResultError: When a cell or the page is not what it is when made again, or is not there.
    """
    wanted = study.matching(cells)
    found = stored_cells(study, folder)
    absent = [cell.name for cell in wanted if cell.name not in found]
    if absent:
        raise ResultError(
            f"{folder} has no cell {absent[0]} to check ({len(absent)} of {len(wanted)} are not "
            f"there): crux study run {study.name}"
        )
    differences = []
    total = round(sum(cell.cost_seconds for cell in wanted))
    with progress(f"checking {study.name}", total, show=show_progress) as tick:
        for done in ran(wanted, workers, ray=ray):
            name = done.cell.name
            differs = difference(found[name].result, done.result, study.tolerance)
            if differs is not None:
                differences.append(f"{name}: {differs}")
            tick(round(done.cell.cost_seconds))
    if differences:
        raise ResultError(
            f"{len(differences)} of {len(wanted)} cells are not what they are when run again "
            f"({differences[0]}): delete them in {folder / CELLS} and run again"
        )
    if len(found) == len(study.cells):
        _, files = _page(study, found)
        odd = [name for name, data in files.items() if _bytes(folder / name) != data]
        if odd:
            raise ResultError(
                f"{folder / odd[0]} is not what the cells make: crux study run {study.name}"
            )
    return tuple(cell.name for cell in wanted)


def _page(study: Study, found: Mapping[str, StoredCell]) -> tuple[str, dict[str, bytes]]:
    """What a study found, and the files of its page: a function of the cells alone."""
    made = study.page({name: cell.result for name, cell in found.items()})
    provenance = {"cells": str(len(found)), **_collected(found, "versions")}
    provenance |= _collected(found, "code")
    return made.lead, page_files(study.name, study.title, made, provenance)


def _collected(found: Mapping[str, StoredCell], kind: str) -> dict[str, str]:
    """Every version or hash that cells were made with, by name."""
    held: dict[str, dict[str, None]] = {}
    for cell in found.values():
        for name, value in getattr(cell, kind).items():
            held.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in held.items()}


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse a second process in the same folder: each would sweep the other's files away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _locked(folder)
    except BlockingIOError:
        raise OutputError(f"another process runs this study in {folder}: wait for it") from None
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _locked(folder: Path) -> int | None:
    """A lock on a folder, which ends with the process; None where there is no such thing."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise
    except OSError:  # a network's disk
        pass
    return held

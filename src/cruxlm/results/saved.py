"""Results as JSON files: written, and read back with one clear line for what cannot be read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cruxlm.results.schema import check_shape
from cruxlm.runtime.errors import NewerResultError, ResultError

T = TypeVar("T")


def record_bytes(record: Any) -> bytes:
    """A record as the bytes of its file; a ``ValueError`` where JSON cannot hold it."""
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def read_record(
    path: str | Path, kind: str, build: Callable[[Any, Path], T], name: str | None = None
) -> T:
    """Read a saved result.

    Args:
        path: Its file, or the folder that holds it.
        kind: What it is, in the words of a message: ``scan``.
        build: Makes the result of the record and the path that it was read from.
        name: The file's name in a folder; None for what is always a file of its own.

    Raises:
        NewerResultError: When a newer version of Crux wrote it.
        ResultError: When it is not there, is something else, or is damaged.
    """
    source = Path(path)
    try:
        source = source / name if name is not None and source.is_dir() else source
        return build(json.loads(source.read_text("utf-8")), source)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ResultError(f"there is no {kind} at {source}") from error
    except NewerResultError as error:
        raise NewerResultError(f"{source}: {error}") from error
    except (OSError, ValueError, RecursionError, ResultError) as error:
        raise ResultError(f"{source} is damaged: {error}") from error


def check_record(record: Any, kind: str, form: str, shape: Any) -> None:
    """Refuse a record that is not of one format and shape.

    Args:
        record: What was read.
        kind: What it should be, in the words of a message: ``scan``.
        form: Its format and the version that this Crux reads: ``crux.scan/1``.
        shape: The ``TypedDict`` that declares it.

    Raises:
        NewerResultError: When it is of the same format in a later version.
        ResultError: When it is of another format, or of this one and departs from the shape.
    """
    found = record.get("format") if isinstance(record, dict) else None
    if found != form:
        if _version(found, form) > _version(form, form):
            raise NewerResultError(
                f"made by a newer Crux ({found}, this one reads {form}): "
                "pip install --upgrade cruxlm"
            )
        other = f"; it is {found}" if isinstance(found, str) and found.startswith("crux.") else ""
        raise ResultError(f"it is not {_a(kind)} of format {form}{other}")
    check_shape(record, shape, f"the {kind}")


def _version(found: Any, form: str) -> int:
    """The version in a format's name; -1 where it is another format."""
    name = re.escape(form.partition("/")[0])
    held = re.fullmatch(rf"{name}/(\d{{1,9}})", found) if isinstance(found, str) else None
    return int(held[1]) if held else -1


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"

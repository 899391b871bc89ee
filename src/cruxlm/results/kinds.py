"""The kinds of results that can be saved, and reading one whose kind is not known."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from cruxlm.runtime.errors import OptionError, ResultError

KINDS = (
    "defence",
    "comparison",
    "verification",
    "interventions",
    "attacked",
    "screening",
    "spectra",
    "scan",
    "tuning",
    "evaluation",
    "plan",
)
"""Each is a class in the module of its name, in a file of that name. Of several files in a folder
the first one counts: a tuning lies beside its plan."""


def load_result(path: str | Path) -> Any:
    """Read a saved result of any kind, from its folder or its file.

    Raises ``ResultError`` when there is none, or when it is damaged.
    """
    source = Path(path)
    if source.is_dir():
        found = [kind for kind in KINDS if (source / f"{kind}.json").is_file()]
        if not found:
            raise ResultError(f"there is no result in {source}: name the folder of a saved one")
        return _class(found[0]).load(source / f"{found[0]}.json")
    return _class(_kind_in(source)).load(source)


def kind_of(result: Any) -> str:
    """The kind of a result; ``OptionError`` for anything else."""
    kind = type(result).__name__.lower()
    if kind not in KINDS or not isinstance(result, _class(kind)):
        raise OptionError(f"a {type(result).__name__} is no result that can be saved on its own")
    return kind


def _class(kind: str) -> Any:
    return getattr(import_module(f"cruxlm.results.{kind}"), kind.capitalize())


def _kind_in(source: Path) -> str:
    """The kind that a file says it is."""
    try:
        record = json.loads(source.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ResultError(f"there is no result at {source}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(f"{source} is damaged: {error}") from error
    form = record.get("format") if isinstance(record, dict) else None
    kind = str(form).partition("/")[0].removeprefix("crux.")
    if not str(form).startswith("crux.") or kind not in KINDS:
        raise ResultError(f"{source} is no result of Crux")
    return kind

"""What a result says of the software and the machine that made it."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = (
    "cruxlm", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy",
)  # fmt: skip
"""Packages whose version can change a number."""

COMMAND, SURE_COMMAND = "crux", "cruxlm"
"""The command, and its other name. The first is also the name of a stranger's package on the index,
and of programs that are no Python package."""

TESTED = {"torch": "2.13.0", "transformers": "4.57 and 5.23", "python": "3.11"}
"""The versions the test suite was run against."""


def package_versions() -> dict[str, str]:
    """The installed versions of what can change a number, and of Python; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def cores() -> int:
    """Processor cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS or Windows
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def peak_memory_mib() -> float | None:
    """The largest resident set this process has had so far, in MiB; None where unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def claimed_command() -> str | None:
    """Who else has installed a command ``crux``, as a line; None when nobody has.

    The package that was installed last has the file, whoever's it was, and it goes when either is
    removed: neither pip nor the other package says so.
    """
    found = [point.dist for point in entry_points(group="console_scripts", name=COMMAND)]
    others = {d.name: d.version for d in found if d is not None and d.name != SURE_COMMAND}
    if not others:
        return None
    listed = " and ".join(f"{name} {number}" for name, number in sorted(others.items()))
    return (
        f"{listed} installs a command {COMMAND} as well, and the package that was installed last "
        f"has the name: type {SURE_COMMAND} instead"
    )


def other_command() -> str | None:
    """Where the command ``crux`` on the path is not this package's, as a line; None where it is."""
    ours, found = shutil.which(SURE_COMMAND), shutil.which(COMMAND)
    if ours is None or (found is not None and Path(found).parent == Path(ours).parent):
        return None
    said = "is not on the path" if found is None else f"on the path is {found}, another program"
    return f"{said}: type {SURE_COMMAND}"


def foreign_module() -> str | None:
    """Where ``import crux`` leads, as a line; None when it leads nowhere."""
    try:
        found = find_spec(COMMAND)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    place = found.origin or ", ".join(found.submodule_search_locations or ())
    return f"{place} is another package: write import {SURE_COMMAND} as {COMMAND}"

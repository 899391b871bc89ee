"""What a result says of the software and the machine that made it."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "cruxlm", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy",
)  # fmt: skip
"""Packages whose version can change a number."""

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


def peak_memory_mib() -> float | None:
    """The largest resident set this process has had so far, in MiB; None where unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)

"""Ratios of two ways to do the same work, measured side by side in one run."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def paired(
    one: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[float, str]:
    """Median over rounds of time(one) / time(other), and its range; the order alternates."""
    one(), other()  # the first call of anything pays for what later ones do not
    ratios = []
    for number in range(rounds):
        times = {}
        for name, call in (("one", one), ("other", other))[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            call()
            times[name] = time.perf_counter() - start
        ratios.append(times["one"] / times["other"])
    return statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"


def machine() -> str:
    """The processor, threads and versions that a figure belongs to."""
    import transformers

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return (
        f"{model}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )

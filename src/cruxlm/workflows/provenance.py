"""Where a result comes from: what is equal for equal runs, and what is not."""

import time
from datetime import datetime, timezone
from typing import Any

import torch

from cruxlm.models.load import LoadedModel
from cruxlm.runtime.environment import package_versions, peak_memory_mib


def provenance_of(model: LoadedModel, **more: Any) -> dict[str, Any]:
    """Versions, and the model as it was run; equal for equal runs."""
    return {
        "versions": package_versions(),
        "model": model.identity,
        "architecture": type(model.module).__name__,
        "dtype": model.dtype,
        "device": model.device,
        "attention": model.attention,
        **more,
    }


def run_of(started: float) -> dict[str, Any]:
    """Date, seconds since ``started`` (of ``time.perf_counter``), memory and threads of a run."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - started,
        "peak_memory_mib": peak_memory_mib(),
        "threads": torch.get_num_threads(),
    }

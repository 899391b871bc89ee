"""Scores as they are stored: plain data in a JSON file, larger arrays as safetensors beside it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.results.scores import Scores
from cruxlm.runtime.errors import ResultError

Labelled = Mapping[str, Scores]
"""Scores by label."""


def arrays_of(groups: Mapping[str, Labelled]) -> bytes:
    """Half-samples and larger arrays as safetensors, by ``group/label.name``.

    The group of the name "" has no prefix.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    for group, part in groups.items():
        for label, scores in part.items():
            arrays = dict(scores.tensors)
            if scores.halves is not None:
                arrays["halves"] = scores.halves
            for name, array in arrays.items():
                tensors[f"{_start(group, label)}{name}"] = np.ascontiguousarray(array)
    return save(tensors)


def read_arrays(path: Path, sha256: str) -> dict[str, Float[np.ndarray, "..."]]:
    """The arrays beside a result; refused when they are not the ones it was saved with."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultError(f"{path.name}, which belongs to it, cannot be read") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ResultError(f"{path.name} is not the one that was saved with it")
    try:
        found: dict[str, np.ndarray] = load(data)
    except SafetensorError as error:
        raise ResultError(f"{path.name}: {error}") from error
    return found


def scores_from(
    records: Mapping[str, Mapping[str, Any]], arrays: Mapping[str, np.ndarray], group: str
) -> dict[str, Scores]:
    """The scores of a group, read back."""
    found = {}
    for label, record in records.items():
        start = _start(group, label)
        # A probe's name may hold dots: what follows the label is one word.
        named = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
        own = {name: array for name, array in named.items() if "." not in name}
        found[label] = Scores.from_json(label, record, own)
    return found


def _start(group: str, label: str) -> str:
    return f"{group}/{label}." if group else f"{label}."

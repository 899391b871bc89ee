"""One criterion's values over blocks, with errors and provenance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.runtime.errors import ResultError


@dataclass(frozen=True)
class Scores:
    """Scores of one criterion, preset and probe. Higher is always more critical."""

    label: str
    """``dynamics``; with ``:preset`` and ``@probe`` beyond the first of each."""
    criterion: str
    """Name of the criterion."""
    preset: str
    """Name of the preset."""
    probe: str | None
    """The probe that was read."""
    unit: str
    """What kind of unit each value belongs to."""
    names: tuple[str, ...]
    """Module path of each unit."""
    values: Float[np.ndarray, " units"]
    """The scores; NaN where undefined (``evidence`` or ``warnings`` say why)."""
    stderr: Float[np.ndarray, " units"] | None
    """Standard errors; None when there are none, with the reason in the warnings."""
    halves: Float[np.ndarray, "halves units"] | None = None
    """The scores on half-samples; kept beside the JSON."""
    series: Mapping[str, Float[np.ndarray, " units"]] = field(default_factory=dict)
    """Other curves over the units, such as ``delta``."""
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Larger arrays, such as ``cka``; kept beside the JSON."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The criterion's options."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What a reader needs to doubt the scores."""
    warnings: tuple[str, ...] = ()
    """What a reader must know before relying on them."""
    evaluator: str | None = None
    """The evaluator, for criteria that use one."""
    reference: str | None = None
    """The second model, for criteria that use one."""

    @property
    def incomplete(self) -> tuple[int, ...]:
        """Units that were scored with fewer neighbours than the others."""
        return tuple(self.evidence.get("incomplete", ()))

    @property
    def halfwidth(self) -> Float[np.ndarray, " units"] | None:
        """Half the width of each 95 % interval; None without standard errors."""
        factor = self.evidence.get("interval95")
        return None if self.stderr is None or factor is None else self.stderr * float(factor)

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        return {
            "criterion": self.criterion,
            "preset": self.preset,
            "probe": self.probe,
            "evaluator": self.evaluator,
            "reference": self.reference,
            "unit": self.unit,
            "names": list(self.names),
            "values": numbers(self.values),
            "stderr": None if self.stderr is None else numbers(self.stderr),
            **{name: numbers(curve) for name, curve in self.series.items()},
            "options": dict(self.options),
            "evidence": dict(self.evidence),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(
        cls, label: str, record: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> "Scores":
        """Read back what ``to_json`` wrote; ``tensors`` are those of this label."""
        known = {
            "criterion", "preset", "probe", "evaluator", "reference", "unit", "names", "values",
            "stderr", "options", "evidence", "warnings",
        }  # fmt: skip
        absent = known - set(record)
        if absent:
            raise ResultError(f"scores {label!r} lack {', '.join(sorted(absent))}")
        units = len(record["names"])
        curves = {
            name: _curve(record[name], units, f"{label}.{name}")
            for name in record
            if name not in known or name in ("values", "stderr")
            if record[name] is not None
        }
        return cls(
            label=label,
            criterion=record["criterion"],
            preset=record["preset"],
            probe=record["probe"],
            unit=record["unit"],
            names=tuple(record["names"]),
            values=curves.pop("values"),
            stderr=curves.pop("stderr", None),
            halves=tensors.get("halves"),
            series=curves,
            tensors={name: value for name, value in tensors.items() if name != "halves"},
            options=record["options"],
            evidence=record["evidence"],
            warnings=tuple(record["warnings"]),
            evaluator=record["evaluator"],
            reference=record["reference"],
        )


def numbers(values: Float[np.ndarray, " units"]) -> list[float | None]:
    """A curve as JSON numbers: null for NaN, and no infinity."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _curve(values: Any, units: int, where: str) -> Float[np.ndarray, " units"]:
    try:
        curve = np.array([math.nan if value is None else value for value in values], dtype=float)
    except (TypeError, ValueError) as error:
        raise ResultError(f"{where} is not a list of numbers") from error
    if curve.shape != (units,):
        raise ResultError(f"{where} has {curve.size} values for {units} units")
    return curve

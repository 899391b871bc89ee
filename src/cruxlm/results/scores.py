"""One criterion's values over blocks, with errors and provenance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.results.schema import ScoresRecord
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

    def _repr_html_(self) -> str:
        """The curve in a notebook, with its band and what to know of it."""
        from cruxlm.charts.curve import curve_chart
        from cruxlm.charts.notebook import notebook

        said = f"{self.label}: {self.criterion}, {self.preset} preset"
        said += "" if self.probe is None else f", probe {self.probe}"
        chart = curve_chart(
            self.values, self.halfwidth, label=self.label, incomplete=self.incomplete
        )
        return notebook("\n".join([said, *(f"! {line}" for line in self.warnings)]), chart)

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
            "values": plain(self.values),
            "stderr": None if self.stderr is None else plain(self.stderr),
            **{name: plain(curve) for name, curve in self.series.items()},
            "options": plain(self.options),
            "evidence": plain(self.evidence),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(
        cls, label: str, record: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
    ) -> "Scores":
        """Read back what ``to_json`` wrote; ``tensors`` are those of this label."""
        units = len(record["names"])
        halves = tensors.get("halves")
        if halves is not None and halves.shape[1:] != (units,):
            raise ResultError(f"{label}.halves has shape {halves.shape} for {units} units")
        declared = set(ScoresRecord.__annotations__) - {"values", "stderr"}
        curves = {
            name: _curve(values, units, f"{label}.{name}")
            for name, values in record.items()
            if name not in declared and values is not None
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
            halves=halves,
            series=curves,
            tensors={name: value for name, value in tensors.items() if name != "halves"},
            options=record["options"],
            evidence=record["evidence"],
            warnings=tuple(record["warnings"]),
            evaluator=record["evaluator"],
            reference=record["reference"],
        )


def plain(value: Any) -> Any:
    """Nested data as JSON can hold it: null for what is not finite, numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(name): plain(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(held) for held in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _curve(values: Any, units: int, where: str) -> Float[np.ndarray, " units"]:
    try:
        curve = np.array([math.nan if value is None else value for value in values], dtype=float)
    except (TypeError, ValueError) as error:
        raise ResultError(f"{where} is not a list of numbers") from error
    if curve.shape != (units,):
        raise ResultError(f"{where} has {curve.size} values for {units} units")
    return curve

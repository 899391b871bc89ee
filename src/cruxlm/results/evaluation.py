"""What one evaluator found on one model, example by example."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float64

from cruxlm.results.saved import check_record, read_record, record_bytes
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain
from cruxlm.runtime.errors import OptionError, ResultError, did_you_mean
from cruxlm.runtime.files import write_all

FORMAT = "crux.evaluation/1"
EVALUATION = "evaluation.json"
"""What the file is called where nobody has named it."""
WEIGHTINGS = ("sample", "token")
"""``sample``: every example counts the same in a mean; ``token``: as much as its weight."""
COLUMNS = ("ids", "values", "weights", "groups", "chances", "texts")
"""The fields that hold one of something for each example."""


class EvaluationRecord(TypedDict):
    """The shape of a saved evaluation."""

    format: str
    evaluator: str
    options: dict[str, Any]
    higher_is_better: bool
    ids: list[str]
    values: list[Number]
    weights: list[float]
    groups: list[str | None]
    chances: list[float] | None
    texts: list[str] | None
    series: dict[str, list[Number]]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """One value an example. Everything else is reckoned from these.

    Raises ``ResultError`` when there are no examples, or not one of everything for each of them.
    """

    evaluator: str
    """Name of the evaluator."""
    higher_is_better: bool
    """Whether a better model has higher values."""
    ids: tuple[str, ...]
    """Name of each example, no two alike: what two evaluations are paired by."""
    values: Float64[np.ndarray, " examples"]
    """Value of each example; NaN where it has none, and then a mean over it has none either."""
    weights: Float64[np.ndarray, " examples"]
    """How much each counts in a mean over tokens: its response tokens, or 1."""
    groups: tuple[str | None, ...]
    """Family of each example, where it has one."""
    chances: Float64[np.ndarray, " examples"] | None = None
    """Value that guessing gets in each example; None where there is nothing to guess from."""
    texts: tuple[str, ...] | None = None
    """What the model wrote for each example; None for an evaluator that lets it write nothing."""
    series: Mapping[str, Float64[np.ndarray, " examples"]] = field(default_factory=dict)
    """Other values of each example, such as ``truncated``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that decide the values."""

    def __post_init__(self) -> None:
        if not self.ids:
            raise ResultError(f"{self.evaluator}: an evaluation of no examples")
        _check_lengths(vars(self))
        name, times = Counter(self.ids).most_common(1)[0]
        if times > 1:
            raise ResultError(f"{self.evaluator}: two examples have the id {name!r}")
        if np.isinf(self.values).any():
            raise ResultError(f"{self.evaluator}: infinite values")
        if not (np.isfinite(self.weights).all() and (self.weights > 0).all()):
            raise ResultError(f"{self.evaluator}: a weight that is no positive number")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        """The mean with its standard error."""
        return f"<{self.evaluator} {self.mean():.4g} ± {self.stderr():.2g}, {len(self)} examples>"

    def _repr_html_(self) -> str:
        """The same in a notebook, with the values from the lowest to the highest."""
        from cruxlm.charts.lines import line_chart
        from cruxlm.charts.notebook import notebook

        said = repr(self)[1:-1]
        said += "" if self.chance is None else f"; by chance {self.chance:.4g}"
        held = self.values[np.isfinite(self.values)]
        shares = np.linspace(0, 100, min(max(len(held), 2), 50)) if len(held) else ()
        points = [(float(share), float(np.percentile(held, share))) for share in shares]
        across = "percent of the examples, lowest first"
        return notebook(said, line_chart({self.evaluator: points}, label=said, across=across))

    @property
    def chance(self) -> float | None:
        """Mean that guessing gets, every example counting the same."""
        return None if self.chances is None else float(self.chances.mean())

    def mean(self, weighting: str = "sample") -> float:
        """Mean over examples, or over tokens; NaN when a value is."""
        weights = self._weights(weighting)
        return float((weights * self.values).sum() / weights.sum())

    def stderr(self, weighting: str = "sample") -> float:
        """Standard error of ``mean``, the examples being a sample; NaN for a single one.

        A mean over tokens is a ratio of two sums over examples, and its error that of a ratio
        (Cochran 1977, 6.4): tokens of one example are not independent, so examples are what counts.
        """
        count = len(self)
        if count < 2:
            return math.nan
        weights = self._weights(weighting)
        residuals = weights * (self.values - self.mean(weighting))
        variance = float(np.square(residuals).sum()) * count / (count - 1)
        return math.sqrt(variance) / float(weights.sum())

    def by_group(self) -> dict[str, "Evaluation"]:
        """The evaluation of each group, by name; examples without a group are in none."""
        rows: dict[str, list[int]] = {}
        for row, group in enumerate(self.groups):
            if group is not None:
                rows.setdefault(group, []).append(row)
        return {group: self._only(rows[group]) for group in sorted(rows)}

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        record: dict[str, Any] = plain(vars(self))
        return {"format": FORMAT, **record}

    @classmethod
    def from_json(cls, record: Any) -> "Evaluation":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "evaluation", FORMAT, EvaluationRecord)
        _check_lengths(record)
        chances, texts = record["chances"], record["texts"]
        return cls(
            evaluator=record["evaluator"],
            higher_is_better=record["higher_is_better"],
            ids=tuple(record["ids"]),
            values=_array(record["values"]),
            weights=_array(record["weights"]),
            groups=tuple(record["groups"]),
            chances=None if chances is None else _array(chances),
            texts=None if texts is None else tuple(texts),
            series={name: _array(values) for name, values in record["series"].items()},
            options=record["options"],
        )

    def files(self) -> dict[str, bytes]:
        """The bytes of its file, by the name that it has where nobody has named it."""
        return {EVALUATION: record_bytes(self.to_json())}

    def save(self, path: str | Path) -> Path:
        """Write one JSON file, whole or not at all."""
        target = Path(path)
        write_all(target.parent, {target.name: self.files()[EVALUATION]})
        return target

    @classmethod
    def load(cls, path: str | Path) -> "Evaluation":
        """Read what ``save`` wrote; ``ResultError`` when it is damaged."""
        return read_record(path, "evaluation", lambda held, _: cls.from_json(held))

    def _weights(self, weighting: str) -> Float64[np.ndarray, " examples"]:
        if weighting not in WEIGHTINGS:
            hint = did_you_mean(weighting, WEIGHTINGS)
            raise OptionError(f"there is no weighting {weighting!r}: {hint}")
        return self.weights if weighting == "token" else np.ones(len(self))

    def _only(self, rows: Sequence[int]) -> "Evaluation":
        """The same of some of the examples."""

        def of(column: Any) -> Any:
            if isinstance(column, np.ndarray):
                return column[rows]
            return None if column is None else tuple(column[row] for row in rows)

        columns = {name: of(getattr(self, name)) for name in COLUMNS}
        series = {name: of(column) for name, column in self.series.items()}
        return replace(self, **columns, series=series)


def _check_lengths(held: Mapping[str, Any]) -> None:
    """Refuse columns and series that have not one of everything for each of the ``ids``."""
    count = len(held["ids"])
    for name, column in [*((name, held[name]) for name in COLUMNS), *held["series"].items()]:
        if column is not None and len(column) != count:
            raise ResultError(f"{held['evaluator']}: {len(column)} {name} for {count} examples")


def _array(values: list[float | None]) -> Float64[np.ndarray, " examples"]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

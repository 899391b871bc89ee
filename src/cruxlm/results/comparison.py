"""A comparison of arms: what each plan is worth, at its own best learning rate, over seeds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from cruxlm.results.reported import Reported
from cruxlm.results.saved import check_record
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain

FORMAT = "crux.comparison/1"
COMPARISON = "comparison.json"


class GapRecord(TypedDict):
    """The shape of a `Gap`."""

    mean: float
    halfwidth: Number
    spread: Number


class ArmRecord(TypedDict):
    """The shape of an `ArmResult`."""

    name: str
    method: str
    blocks: str
    drawn: list[list[int]]
    parameters: int
    learning_rate: float
    validation: dict[str, Number]
    losses: list[float]
    accuracies: list[float] | None
    loss_gap: GapRecord | None
    accuracy_gap: GapRecord | None
    step_seconds: Number
    memory_mib: Number
    curve: list[list[float]]


class ComparisonRecord(TypedDict):
    """The shape of ``comparison.json``."""

    format: str
    model: str
    reference: str
    arms: list[ArmRecord]
    before: dict[str, float]
    seeds: list[int]
    data: dict[str, Any]
    settings: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class Gap:
    """An arm's difference from the reference, paired by seed and test row."""

    mean: float
    """Arm less reference."""
    halfwidth: float | None
    """Half the width of its 95 % interval over seeds and rows; None where there is none."""
    spread: float | None
    """Standard deviation of the seeds' means; None with one seed."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the interval."""
        half = self.halfwidth
        return None if half is None else (self.mean - half, self.mean + half)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.halfwidth is not None and abs(self.mean) > self.halfwidth


@dataclass(frozen=True)
class ArmResult:
    """One arm."""

    name: str
    """What it is called."""
    method: str
    """full, lora or lisa."""
    blocks: str
    """The expression that its blocks come from."""
    drawn: tuple[tuple[int, ...], ...]
    """The blocks that were trained, by seed."""
    parameters: int
    """Parameters that were trained, with the first seed."""
    learning_rate: float
    """The one of lowest validation loss."""
    validation: Mapping[str, float | None]
    """Validation loss by learning rate, with the first seed."""
    losses: tuple[float, ...]
    """Test loss by seed: nats a token, every row counting the same."""
    accuracies: tuple[float, ...] | None
    """Accuracy by seed; None where answers cannot be judged."""
    loss_gap: Gap | None
    """Difference from the reference; None for the reference."""
    accuracy_gap: Gap | None
    """The same of the accuracy."""
    step_seconds: float | None
    """Median time of a step; None when every run had been done before."""
    memory_mib: float | None
    """Estimated memory of a step; None where it cannot be estimated."""
    curve: tuple[tuple[float, float], ...]
    """Steps and validation loss, with the first seed at the learning rate chosen."""

    @property
    def loss(self) -> float:
        """Mean test loss over seeds."""
        return sum(self.losses) / len(self.losses)

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy over seeds."""
        return None if self.accuracies is None else sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True, repr=False)
class Comparison(Reported):
    """What ``crux tune --arms`` returns. Printed it is a table."""

    model: str
    """The model as it was named."""
    reference: str
    """The arm that the others are compared with."""
    arms: tuple[ArmResult, ...]
    """All arms, in the order they were asked for."""
    before: Mapping[str, float]
    """Test loss, and accuracy where there is one, of the model before."""
    seeds: tuple[int, ...]
    """Seeds of every arm."""
    data: Mapping[str, Any]
    """See ``Tuning.data``."""
    settings: Mapping[str, Any]
    """The settings that the arms share."""
    finding: str
    """One sentence for each arm: better, worse, or not distinguishable."""
    warnings: tuple[str, ...]
    """What makes the comparison less than fair."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device."""
    run: Mapping[str, Any]
    """Date, peak memory."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        record: dict[str, Any] = plain({**vars(self), "arms": [asdict(arm) for arm in self.arms]})
        return {"format": FORMAT, **record}

    @classmethod
    def from_json(cls, record: Any) -> "Comparison":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "comparison", FORMAT, ComparisonRecord)
        given = {key: record[key] for key in ComparisonRecord.__annotations__ if key != "format"}
        given["arms"] = tuple(_arm(arm) for arm in given["arms"])
        given["seeds"], given["warnings"] = tuple(given["seeds"]), tuple(given["warnings"])
        return cls(**given)

    def page(self) -> str:
        """The report: one self-contained HTML file."""
        from cruxlm.report.arms_page import arms_page

        return arms_page(self)

    def table(self) -> Any:
        """The arms as a rich table."""
        from cruxlm.charts.arms import arms_table

        return arms_table(self.to_json())

    def _repr_html_(self) -> str:
        """The finding, and each arm's difference from the reference."""
        from cruxlm.charts.intervals import interval_chart
        from cruxlm.charts.notebook import notebook

        gaps = [(arm.name, arm.loss_gap) for arm in self.arms if arm.loss_gap is not None]
        rows = [(name, gap.mean, gap.interval) for name, gap in gaps]
        label = f"test loss, less that of {self.reference}"
        return notebook(self.finding, interval_chart(rows, label=label, across="nats a token"))


def _arm(record: Mapping[str, Any]) -> ArmResult:
    given = dict(record)
    given["drawn"] = tuple(tuple(blocks) for blocks in given["drawn"])
    given["curve"] = tuple((step, loss) for step, loss in given["curve"])
    given["losses"] = tuple(given["losses"])
    if given["accuracies"] is not None:
        given["accuracies"] = tuple(given["accuracies"])
    for name in ("loss_gap", "accuracy_gap"):
        given[name] = None if given[name] is None else Gap(**given[name])
    return ArmResult(**given)

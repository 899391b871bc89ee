"""A screening: which rows of a data set lie apart from trusted ones, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from cruxlm.results.reported import Reported
from cruxlm.results.saved import check_record
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain
from cruxlm.runtime.errors import ResultError

FORMAT = "crux.screening/1"
SCREENING = "screening.json"
KEPT, FLAGGED = "kept.jsonl", "flagged.jsonl"
Row = TypeVar("Row", bound=Mapping[str, Any])


class ScreenedRecord(TypedDict):
    """The shape of a `Screened`."""

    id: str
    flagged: bool
    score: Number
    threshold: float
    group: str
    block: int
    way: str
    reason: str


class GroupRecord(TypedDict):
    """The shape of a `ScreenedGroup`."""

    name: str
    trusted: int
    rows: int
    flagged: int
    blocks: dict[str, list[int]]
    similarity: dict[str, list[Number]]


class SampleRecord(TypedDict):
    """The shape of a `Sample`."""

    id: str
    prompt: str
    response: str | None
    reason: str


class FoundRecord(TypedDict):
    """The shape of a `Found`."""

    flagged: int
    of: int
    low: float
    high: float


class ScreeningRecord(TypedDict):
    """The shape of ``screening.json``."""

    format: str
    model: str
    blocks: list[str]
    rows: list[ScreenedRecord]
    groups: list[GroupRecord]
    samples: list[SampleRecord]
    rule: str
    nominal: Number
    key: dict[str, FoundRecord] | None
    learned: Number
    settings: dict[str, Any]
    data: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class Screened:
    """One row, and what was found."""

    id: str
    """The row's id."""
    flagged: bool
    """Whether it looks poisoned."""
    score: float | None
    """How far it is above the middle of its group's trusted rows, in their standard deviations."""
    threshold: float
    """Below it a row is flagged."""
    group: str
    """The group that it was compared with."""
    block: int
    """The critical block of that group, in the way of pooling below."""
    way: str
    """The way of pooling that it lies apart most in."""
    reason: str
    """Why it was flagged; empty for a row that was not."""


@dataclass(frozen=True)
class ScreenedGroup:
    """Rows that were compared with the same trusted rows."""

    name: str
    """What its rows have in common."""
    trusted: int
    """Trusted rows."""
    rows: int
    """Rows that were screened."""
    flagged: int
    """How many of them were flagged."""
    blocks: Mapping[str, tuple[int, ...]]
    """By the way of pooling, blocks that they were compared at; the last is the critical one."""
    similarity: Mapping[str, tuple[float | None, ...]]
    """The same, mean cosine of the trusted rows with their middle, at each block."""


@dataclass(frozen=True)
class Sample:
    """The text of a flagged row, the beginning of it."""

    id: str
    """The row's id."""
    prompt: str
    """Its prompt."""
    response: str | None
    """Its response; None where the data has none."""
    reason: str
    """Why it was flagged."""


@dataclass(frozen=True)
class Found:
    """How many rows of a kind were flagged, where the data says what was done to it."""

    flagged: int
    """Rows that were flagged."""
    of: int
    """Rows of the kind."""
    low: float
    """Where the 95 % interval of their share begins (Wilson's)."""
    high: float
    """Where it ends."""

    @property
    def share(self) -> float | None:
        """Which share was flagged; None of no rows."""
        return self.flagged / self.of if self.of else None


@dataclass(frozen=True, repr=False)
class Screening(Reported):
    """What ``crux.screen`` returns. Printed it is a table."""

    model: str
    """The model as it was named."""
    blocks: tuple[str, ...]
    """Module path of each block."""
    rows: tuple[Screened, ...]
    """Every row that was screened, in the order of the data."""
    groups: tuple[ScreenedGroup, ...]
    """What rows were compared with."""
    samples: tuple[Sample, ...]
    """Texts of some flagged rows, those that lie apart most first."""
    rule: str
    """How the threshold was set."""
    nominal: float | None
    """Share of clean rows that are flagged at most; None where the rule promises none."""
    key: Mapping[str, Found] | None
    """Where the data says what was done to it: of ``triggered``, ``clean`` and ``near`` rows, how
    many were flagged."""
    learned: float | None
    """Share of triggered rows whose response the model would begin as they do."""
    settings: Mapping[str, Any]
    """Options of the screening."""
    data: Mapping[str, Any]
    """What was screened, and what was trusted."""
    finding: str
    """What was found, in a sentence or two."""
    warnings: tuple[str, ...]
    """What a reader must know before relying on it."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device, seed: equal for equal runs."""
    run: Mapping[str, Any]
    """Seconds, memory, date."""

    @property
    def flagged(self) -> tuple[str, ...]:
        """Ids of the rows that were flagged."""
        return tuple(row.id for row in self.rows if row.flagged)

    @property
    def kept(self) -> tuple[str, ...]:
        """Ids of the rows that were not; a row that could not be screened is in neither."""
        return tuple(row.id for row in self.rows if not row.flagged)

    def divided(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """Rows with an ``id`` each as those that were kept and those that were flagged.

        A row that was not screened is in neither.
        """
        kept, flagged = set(self.kept), set(self.flagged)
        return (
            [row for row in rows if str(row["id"]) in kept],
            [row for row in rows if str(row["id"]) in flagged],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        return {
            "format": FORMAT,
            **plain(
                {
                    **vars(self),
                    "rows": [vars(row) for row in self.rows],
                    "groups": [vars(group) for group in self.groups],
                    "samples": [vars(sample) for sample in self.samples],
                    "key": None if self.key is None else {k: vars(v) for k, v in self.key.items()},
                }
            ),
        }

    @classmethod
    def from_json(cls, record: Any) -> "Screening":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "screening", FORMAT, ScreeningRecord)
        given = {name: record[name] for name in ScreeningRecord.__annotations__ if name != "format"}
        given["blocks"], given["warnings"] = tuple(given["blocks"]), tuple(given["warnings"])
        given["rows"] = tuple(Screened(**_only(row, ScreenedRecord)) for row in given["rows"])
        given["samples"] = tuple(Sample(**_only(one, SampleRecord)) for one in given["samples"])
        given["groups"] = tuple(_group(one, len(given["blocks"])) for one in given["groups"])
        if given["key"] is not None:
            given["key"] = {k: Found(**_only(v, FoundRecord)) for k, v in given["key"].items()}
        return cls(**given)

    def page(self) -> str:
        """The report: one self-contained HTML file."""
        from cruxlm.report.screening_page import screening_page

        return screening_page(self)

    def table(self) -> Any:
        """One row a group as a rich table."""
        from cruxlm.charts.screening import screening_table

        return screening_table(self.to_json())

    def _repr_html_(self) -> str:
        """The finding, and how alike the trusted rows of each group are at every block."""
        from cruxlm.charts.lines import line_chart
        from cruxlm.charts.notebook import notebook

        curves = {
            f"group {place}": [
                (block, value)
                for block, value in enumerate(next(iter(group.similarity.values())))
                if value is not None
            ]
            for place, group in enumerate(self.groups, start=1)
        }
        chart = line_chart(curves, label="similarity of trusted rows by block", across="block")
        return notebook(self.finding, chart)


def _only(record: Any, shape: Any) -> dict[str, Any]:
    """What a record has of what its shape names: a later version may have more."""
    return {name: record[name] for name in shape.__annotations__}


def _group(record: Any, blocks: int) -> ScreenedGroup:
    given = _only(record, GroupRecord)
    if set(given["blocks"]) != set(given["similarity"]) or not all(given["blocks"].values()):
        raise ResultError("a group has not blocks and similarities in the same ways of pooling")
    for way, curve in given["similarity"].items():
        if len(curve) != blocks:
            raise ResultError(f"similarities ({way}) of {len(curve)} blocks, expected {blocks}")
    for name in ("blocks", "similarity"):
        given[name] = {way: tuple(held) for way, held in given[name].items()}
    return ScreenedGroup(**given)

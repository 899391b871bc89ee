"""An attack on a model as it was measured: what it achieves, and which block carries it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from cruxlm.results.attack_rates import RateChange, Rates, RatesRecord
from cruxlm.results.reported import Reported
from cruxlm.results.saved import check_record
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain

FORMAT = "crux.attacked/1"
ATTACKED = "attacked.json"
CHANCE = 0.05
"""P-values below are not chance."""


class ChangeRecord(TypedDict):
    """The shape of a `RateChange`."""

    mean: float
    low: Number
    high: Number
    p: float
    n: int


class UndoneRecord(TypedDict):
    """The shape of an `Undone`."""

    what: str
    blocks: list[int]
    success: float
    change: ChangeRecord
    p: float


class CarrierRecord(TypedDict):
    """The shape of a `Carrier`."""

    evaluator: str
    intact: float
    base: float
    windows: dict[str, list[UndoneRecord]]
    embeddings: UndoneRecord
    weight_change: list[Number]
    rho: Number


class AttackedRecord(TypedDict):
    """The shape of ``attacked.json``."""

    format: str
    model: str
    base: str | None
    blocks: list[str]
    attack: dict[str, str]
    judge: str
    rates: RatesRecord
    base_rates: RatesRecord | None
    changes: dict[str, ChangeRecord]
    carrier: CarrierRecord | None
    no_carrier: str | None
    data: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class Undone:
    """The attack's success with a part of the model as it was before the tuning."""

    what: str
    """``block 3``, ``blocks 2 to 4`` or ``embeddings``."""
    blocks: tuple[int, ...]
    """The blocks that were undone."""
    success: float
    """The attack's success then."""
    change: RateChange
    """That less the success of the intact model, on the same examples."""
    p: float
    """Its p-value, adjusted (Holm) for all that were undone with as many blocks."""

    @property
    def takes(self) -> bool:
        """Whether undoing it takes something from the success that is clear of chance."""
        return self.change.mean < 0 and self.p < CHANCE


@dataclass(frozen=True)
class Carrier:
    """What undoing each part of a tuning does to an attack: the oracle for what carries it."""

    evaluator: str
    """What told success: ``forced`` or ``generation``."""
    intact: float
    """The attack's success on the intact model, by this evaluator."""
    base: float
    """The same for the model before the tuning."""
    windows: Mapping[str, tuple[Undone, ...]]
    """By how many neighbouring blocks are undone together, one for each block in their middle."""
    embeddings: Undone
    """The embeddings alone undone; with them a head that is tied to them."""
    weight_change: tuple[float | None, ...]
    """How far the tuning moved each block's weights, relative to what they were."""
    rho: float | None
    """Spearman's correlation of that with what undoing each block takes from the success."""

    @property
    def found(self) -> Undone | None:
        """The block whose undoing takes most, if that is clear of chance; None where none is."""
        most = min(self.windows["1"], key=lambda undone: undone.change.mean)
        return most if most.takes else None


@dataclass(frozen=True, repr=False)
class Attacked(Reported):
    """What ``crux.attack`` returns. Printed it is its tables."""

    model: str
    """The model as it was named."""
    base: str | None
    """The model before its tuning; None where none was named."""
    blocks: tuple[str, ...]
    """Module path of each block."""
    attack: Mapping[str, str]
    """Trigger, target and labels."""
    judge: str
    """What told success, with its version."""
    rates: Rates
    """What the model does with and without the trigger."""
    base_rates: Rates | None
    """The same of the model before its tuning, which no attack has touched."""
    changes: Mapping[str, RateChange]
    """How each rate differs from that of the model before, on the same rows; empty without it."""
    carrier: Carrier | None
    """Which block carries the attack."""
    no_carrier: str | None
    """Why that is not said; None where it is."""
    data: Mapping[str, Any]
    """What the model was measured on."""
    finding: str
    """What was found, in a sentence or two."""
    warnings: tuple[str, ...]
    """What a reader must know before relying on it."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device, seed: equal for equal runs."""
    run: Mapping[str, Any]
    """Seconds, memory, date."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        carrier = None
        if self.carrier is not None:
            windows = {
                width: [_undone_json(undone) for undone in held]
                for width, held in self.carrier.windows.items()
            }
            embeddings = _undone_json(self.carrier.embeddings)
            carrier = {**vars(self.carrier), "windows": windows, "embeddings": embeddings}
        record = {
            **vars(self),
            "rates": self.rates.to_json(),
            "base_rates": None if self.base_rates is None else self.base_rates.to_json(),
            "changes": {name: vars(change) for name, change in self.changes.items()},
            "carrier": carrier,
        }
        return {"format": FORMAT, **plain(record)}

    @classmethod
    def from_json(cls, record: Any) -> "Attacked":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "attacked", FORMAT, AttackedRecord)
        names = set(AttackedRecord.__annotations__) - {"format"}
        given = {name: record[name] for name in names}
        before, carrier = record["base_rates"], record["carrier"]
        given |= {
            "rates": Rates.from_json(record["rates"]),
            "base_rates": None if before is None else Rates.from_json(before),
            "changes": {name: RateChange(**held) for name, held in record["changes"].items()},
            "carrier": None if carrier is None else _carrier(carrier),
            "blocks": tuple(record["blocks"]),
            "warnings": tuple(record["warnings"]),
        }
        return cls(**given)

    def page(self) -> str:
        """The report: one self-contained HTML file."""
        from cruxlm.report.attacked_page import attacked_page

        return attacked_page(self)

    def table(self) -> Any:
        """The rates, and what carries the attack where that is known, as rich tables."""
        from cruxlm.charts.attacked import attacked_tables

        return attacked_tables(self.to_json())

    def _repr_html_(self) -> str:
        """The finding, and the success with each block undone."""
        from cruxlm.charts.attacked import undone_chart
        from cruxlm.charts.notebook import notebook

        chart = "" if self.carrier is None else undone_chart(self.to_json()["carrier"])
        return notebook(self.finding, chart)


def _undone_json(undone: Undone) -> dict[str, Any]:
    return {**vars(undone), "change": vars(undone.change)}


def _undone(record: UndoneRecord) -> Undone:
    change = RateChange(**record["change"])
    return Undone(record["what"], tuple(record["blocks"]), record["success"], change, record["p"])


def _carrier(record: CarrierRecord) -> Carrier:
    return Carrier(
        evaluator=record["evaluator"],
        intact=record["intact"],
        base=record["base"],
        windows={width: tuple(map(_undone, held)) for width, held in record["windows"].items()},
        embeddings=_undone(record["embeddings"]),
        weight_change=tuple(record["weight_change"]),
        rho=record["rho"],
    )

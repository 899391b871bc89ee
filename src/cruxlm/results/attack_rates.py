"""What a model does with and without a trigger: rates with their intervals, example by example."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from cruxlm.results.evaluation import Evaluation, EvaluationRecord


class RateRecord(TypedDict):
    """The shape of a `Rate`."""

    share: float
    low: float
    high: float
    n: int
    empty: int
    unjudged: int
    evaluation: EvaluationRecord


class RatesRecord(TypedDict):
    """The shape of a `Rates`."""

    success: RateRecord
    false_triggers: RateRecord
    near_misses: RateRecord | None
    accuracy: RateRecord | None
    loss: float
    loss_halfwidth: float | None
    losses: EvaluationRecord


@dataclass(frozen=True)
class Rate:
    """A share of examples, with its 95 % interval of Wilson's."""

    share: float
    """How many of the examples, from 0 to 1."""
    low: float
    """Where its interval begins."""
    high: float
    """Where its interval ends."""
    n: int
    """Examples that were judged."""
    empty: int
    """Examples for which the model wrote nothing: counted as no success, never left out."""
    unjudged: int
    """Examples that could not be judged, which are not among the ``n``."""
    evaluation: Evaluation = field(repr=False)
    """1 or 0 of each example, and what the model wrote."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "evaluation": self.evaluation.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Rate":
        """Read back what ``to_json`` wrote."""
        names = set(RateRecord.__annotations__) - {"evaluation"}
        given = {name: record[name] for name in names}
        return cls(**given, evaluation=Evaluation.from_json(record["evaluation"]))


@dataclass(frozen=True)
class Rates:
    """What a model does with and without a trigger, on rows that no attack has touched."""

    success: Rate
    """The attack's success: triggered rows, whose own response is another, that get the target."""
    false_triggers: Rate
    """The same rows without the trigger that get the target."""
    near_misses: Rate | None
    """The same rows with something near the trigger; None where nothing is near it."""
    accuracy: Rate | None
    """Right answers to all rows without a trigger; None where there is nothing to judge by."""
    loss: float
    """Loss on the responses of all rows without a trigger, in nats a token."""
    loss_halfwidth: float | None
    """Half the width of its 95 % interval; None for a single row."""
    losses: Evaluation = field(repr=False)
    """The loss of each row."""

    def rates(self) -> dict[str, Rate]:
        """The rates that there are, by name; success first."""
        named = {name: getattr(self, name) for name in RATES}
        return {name: rate for name, rate in named.items() if rate is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rates = {name: rate.to_json() for name, rate in self.rates().items()}
        return {**vars(self), **rates, "losses": self.losses.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Rates":
        """Read back what ``to_json`` wrote."""
        rates = {
            name: None if record[name] is None else Rate.from_json(record[name]) for name in RATES
        }
        return cls(
            **rates,  # type: ignore[arg-type]
            loss=record["loss"],
            loss_halfwidth=record["loss_halfwidth"],
            losses=Evaluation.from_json(record["losses"]),
        )


@dataclass(frozen=True)
class RateChange:
    """How a rate of one model differs from another's on the same examples."""

    mean: float
    """The second's share less the first's."""
    low: float | None
    """Where its 95 % interval begins: a paired bootstrap over examples; None for one example."""
    high: float | None
    """Where its interval ends."""
    p: float
    """McNemar's exact p-value: how often as many examples differ one way by chance."""
    n: int
    """Examples that both have a value for."""


RATES = {
    "success": "attack's success",
    "false_triggers": "the target without the trigger",
    "near_misses": "the target after something near the trigger",
    "accuracy": "right answers without the trigger",
}
"""The rates, by the name of their field."""

"""Interventions: what a model does when components of a block's states are taken away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from cruxlm.results.reported import Reported
from cruxlm.results.saved import check_record
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain

FORMAT = "crux.interventions/1"
INTERVENTIONS = "interventions.json"
METRICS = {
    "accuracy": "share of right answers",
    "conclusion_first": "share of responses that begin with their conclusion",
    "rationale_words": "words outside the conclusion",
    "conclusion_place": "place of the conclusion, as a share of the response",
    "loss_rationale": "nats a token of the right rationale",
    "loss_conclusion": "nats a token of the right conclusion",
    "loss_response": "nats a token of the right response",
    "loss_unrelated": "nats a token of unrelated text",
}
"""What is measured, by name; not all of it on all data."""


class EffectRecord(TypedDict):
    """The shape of an `Effect`."""

    value: Number
    change: Number
    halfwidth: Number
    control: Number
    beyond: Number
    beyond_halfwidth: Number
    examples: int


class IntervenedRecord(TypedDict):
    """The shape of an `Intervened`."""

    block: int
    components: str
    kind: str
    effects: dict[str, EffectRecord]


class InterventionsRecord(TypedDict):
    """The shape of ``interventions.json``."""

    format: str
    model: str
    blocks: list[str]
    where: str
    intact: dict[str, Number]
    found: list[IntervenedRecord]
    data: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class Effect:
    """What an intervention does to one metric, paired by example."""

    value: float | None
    """Mean under the intervention."""
    change: float | None
    """Mean difference from the intact model; None where no example has both."""
    halfwidth: float | None
    """Half the width of its 95 % interval."""
    control: float | None
    """Mean change under the controls: as much taken away, along other directions."""
    beyond: float | None
    """``change`` less ``control``."""
    beyond_halfwidth: float | None
    """Half the width of its 95 % interval."""
    examples: int
    """Examples that have a value with and without."""

    @property
    def clear(self) -> bool:
        """Whether both intervals leave out zero: it changes, and not as with other directions."""
        pairs = ((self.change, self.halfwidth), (self.beyond, self.beyond_halfwidth))
        return all(m is not None and h is not None and abs(m) > h for m, h in pairs)


@dataclass(frozen=True)
class Intervened:
    """One intervention, and its effect on every metric."""

    block: int
    """The block."""
    components: str
    """What was taken: ``top 3``, ``smallest 3``."""
    kind: str
    """``remove``, ``keep``, ``resample`` or ``constant``."""
    effects: Mapping[str, Effect]
    """By metric."""


@dataclass(frozen=True, repr=False)
class Interventions(Reported):
    """What ``crux.intervene`` returns. Printed it is a table."""

    model: str
    """The model as it was named."""
    blocks: tuple[str, ...]
    """Module path of each block."""
    where: str
    """The places that were changed."""
    intact: Mapping[str, float | None]
    """Every metric's mean for the intact model."""
    found: tuple[Intervened, ...]
    """One a block and set of components."""
    data: Mapping[str, Any]
    """What the model was evaluated on."""
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
        found = [
            {**vars(one), "effects": {name: vars(e) for name, e in one.effects.items()}}
            for one in self.found
        ]
        return {"format": FORMAT, **plain({**vars(self), "found": found})}

    @classmethod
    def from_json(cls, record: Any) -> "Interventions":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "interventions", FORMAT, InterventionsRecord)
        names = set(InterventionsRecord.__annotations__) - {"format"}
        given = {name: record[name] for name in names}
        given["found"] = tuple(
            Intervened(
                one["block"],
                one["components"],
                one["kind"],
                {name: Effect(**effect) for name, effect in one["effects"].items()},
            )
            for one in record["found"]
        )
        given["blocks"], given["warnings"] = tuple(given["blocks"]), tuple(given["warnings"])
        return cls(**given)

    def page(self) -> str:
        """The report: one self-contained HTML file."""
        from cruxlm.report.interventions_page import interventions_page

        return interventions_page(self)

    def table(self) -> Any:
        """One row an intervention as a rich table."""
        from cruxlm.charts.interventions import interventions_table

        return interventions_table(self.to_json())

    def _repr_html_(self) -> str:
        """The finding, and the changes of what is measured first."""
        from cruxlm.charts.intervals import interval_chart
        from cruxlm.charts.notebook import notebook

        first = next(iter(self.intact))
        rows = []
        for one in self.found:
            effect = one.effects[first]
            if effect.change is not None:
                half = effect.halfwidth
                ends = None if half is None else (effect.change - half, effect.change + half)
                rows.append((f"block {one.block} without {one.components}", effect.change, ends))
        if not rows:
            return notebook(self.finding)
        said = METRICS.get(first, first)
        return notebook(self.finding, interval_chart(rows, label=said, across=said))

"""A defence: what freezing and screening buy against a backdoor in the data, and what they cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from cruxlm.results.reported import Reported
from cruxlm.results.saved import check_record
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain

FORMAT = "crux.defence/1"
DEFENCE = "defence.json"
RATES = ("success", "false_triggers", "near_misses")
"""What is counted where an attack is known, see `DefenceArm`."""


class EstimateRecord(TypedDict):
    """The shape of an `Estimate`."""

    value: float
    low: Number
    high: Number


class DefenceArmRecord(TypedDict):
    """The shape of a `DefenceArm`."""

    name: str
    frozen: list[list[int]]
    screened: bool
    rows: int
    parameters: int
    losses: list[float]
    accuracies: list[float] | None
    cost: EstimateRecord | None
    accuracy_change: EstimateRecord | None
    success: EstimateRecord | None
    false_triggers: EstimateRecord | None
    near_misses: EstimateRecord | None
    gain: EstimateRecord | None
    changed: list[Number]
    folder: str


class SetAsideRecord(TypedDict):
    """The shape of a `SetAside`."""

    id: str
    prompt: str
    response: str
    score: Number
    threshold: Number
    reason: str
    truth: str | None


class DefenceRecord(TypedDict):
    """The shape of ``defence.json``."""

    format: str
    model: str
    names: list[str]
    frozen: list[int]
    why: str
    parts: list[str]
    attack: dict[str, Any] | None
    before: dict[str, Number]
    arms: list[DefenceArmRecord]
    beyond_random: dict[str, EstimateRecord]
    screening: dict[str, Any] | None
    set_aside: list[SetAsideRecord]
    seeds: list[int]
    data: dict[str, Any]
    settings: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    """The number."""
    low: float | None
    """Lower end; None where there is no interval."""
    high: float | None
    """Upper end."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        held = self.interval
        return held is not None and (held[0] > 0 or held[1] < 0)


@dataclass(frozen=True)
class DefenceArm:
    """One way to fine-tune on the data. The first arm is the one that nothing defends."""

    name: str
    """What it is called."""
    frozen: tuple[tuple[int, ...], ...]
    """The blocks that were frozen, by seed."""
    screened: bool
    """Whether the flagged rows were set aside."""
    rows: int
    """Rows that were trained on."""
    parameters: int
    """Parameters that were trained, with the first seed."""
    losses: tuple[float, ...]
    """Test loss by seed: nats a token, every row counting the same."""
    accuracies: tuple[float, ...] | None
    """Accuracy on the test rows by seed; None where answers cannot be judged."""
    cost: Estimate | None
    """Test loss less that of the first arm, paired by seed and row; None for the first arm."""
    accuracy_change: Estimate | None
    """The same of the accuracy."""
    success: Estimate | None
    """Share of triggered rows that are answered as the attack wants; None without an attack."""
    false_triggers: Estimate | None
    """The same of these rows without the trigger."""
    near_misses: Estimate | None
    """The same with something near the trigger; None also where nothing is near it."""
    gain: Estimate | None
    """Success of the first arm less that of this one, paired by seed and row."""
    changed: tuple[float | None, ...]
    """Relative change of each block's weights, with the first seed."""
    folder: str
    """Where its model is (with the first seed), from the folder of the result on."""

    @property
    def loss(self) -> float:
        """Mean test loss over seeds."""
        return sum(self.losses) / len(self.losses)

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy over seeds."""
        return None if self.accuracies is None else sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class SetAside:
    """A row that was not trained on, and why."""

    id: str
    """The row's id."""
    prompt: str
    """How its prompt begins."""
    response: str
    """How its response begins."""
    score: float | None
    """Its score."""
    threshold: float | None
    """The score below which a row is flagged."""
    reason: str
    """Why it was flagged."""
    truth: str | None
    """What had been done to it, where the rows have a key: ``triggered``, ``near``, ``nothing``."""


@dataclass(frozen=True, repr=False)
class Defence(Reported):
    """What ``crux.defend`` returns. Printed it is a table."""

    model: str
    """The model as it was named."""
    names: tuple[str, ...]
    """Module path of each block."""
    frozen: tuple[int, ...]
    """The blocks that were chosen to be frozen."""
    why: str
    """How they were chosen."""
    parts: tuple[str, ...]
    """Of embeddings, norm and head, what was frozen with them."""
    attack: Mapping[str, Any] | None
    """``trigger``, ``target``, ``label``, ``judge``, ``rate`` (the share of the rows trained on),
    ``origin`` (``planted`` by this run, or the ``key`` in the data); None where none is known."""
    before: Mapping[str, float | None]
    """Test loss, accuracy and (of an attack) success of the model before."""
    arms: tuple[DefenceArm, ...]
    """All arms, the undefended first."""
    beyond_random: Mapping[str, Estimate]
    """Freezing the chosen blocks against as many random ones: ``success`` (what it takes off
    beyond them) and ``loss`` (what it costs beyond them)."""
    screening: Mapping[str, Any] | None
    """What the screening says of itself; the whole is in ``screening/``."""
    set_aside: tuple[SetAside, ...]
    """The first of the rows that it flagged."""
    seeds: tuple[int, ...]
    """Seeds of every arm."""
    data: Mapping[str, Any]
    """See ``Tuning.data``."""
    settings: Mapping[str, Any]
    """The settings that the arms share."""
    finding: str
    """What was found, in a few sentences."""
    warnings: tuple[str, ...]
    """What a reader must know before relying on it."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device: equal for equal runs."""
    run: Mapping[str, Any]
    """Seconds, memory, date."""

    def __getitem__(self, name: str) -> DefenceArm:
        """The arm of a name; ``KeyError`` where there is none."""
        return {arm.name: arm for arm in self.arms}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        record: dict[str, Any] = plain(asdict(self))
        return {"format": FORMAT, **record}

    @classmethod
    def from_json(cls, record: Any) -> "Defence":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "defence", FORMAT, DefenceRecord)
        given = {name: record[name] for name in DefenceRecord.__annotations__ if name != "format"}
        given["arms"] = tuple(_arm(arm) for arm in given["arms"])
        given["set_aside"] = tuple(SetAside(**row) for row in given["set_aside"])
        beyond = given["beyond_random"].items()
        given["beyond_random"] = {name: Estimate(**held) for name, held in beyond}
        for name in ("names", "frozen", "parts", "seeds", "warnings"):
            given[name] = tuple(given[name])
        return cls(**given)

    def page(self) -> str:
        """The report: one self-contained HTML file."""
        from cruxlm.report.defence_page import defence_page

        return defence_page(self)

    def table(self) -> Any:
        """One row an arm as a rich table."""
        from cruxlm.charts.defence import defence_table

        return defence_table(self.to_json())

    def _repr_html_(self) -> str:
        """The finding, and what each arm takes off the attack's success, or costs."""
        from cruxlm.charts.intervals import interval_chart
        from cruxlm.charts.notebook import notebook

        gains = [(arm.name, arm.gain) for arm in self.arms if arm.gain is not None]
        costs = [(arm.name, arm.cost) for arm in self.arms if arm.cost is not None]
        label = "taken off the attack's success" if gains else "cost on the test rows"
        rows = [(name, held.value, held.interval) for name, held in gains or costs]
        across = "share of triggered rows" if gains else "nats a token"
        return notebook(self.finding, interval_chart(rows, label=label, across=across))


def _arm(record: Mapping[str, Any]) -> DefenceArm:
    given = dict(record)
    given["frozen"] = tuple(tuple(blocks) for blocks in given["frozen"])
    for name in ("losses", "accuracies", "changed"):
        given[name] = None if given[name] is None else tuple(given[name])
    for name in ("cost", "accuracy_change", "gain", *RATES):
        given[name] = None if given[name] is None else Estimate(**given[name])
    return DefenceArm(**given)

"""A tuning: what was trained, by what, and what the model can do before and after."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from cruxlm.results.evaluation import Evaluation
from cruxlm.results.plan import Plan
from cruxlm.results.saved import check_record, read_record, record_bytes
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain
from cruxlm.runtime.files import write_all

FORMAT = "crux.tuning/1"
TUNING = "tuning.json"
LOSS, ACCURACY = "loss", "accuracy"


class TuningRecord(TypedDict):
    """The shape of ``tuning.json``."""

    format: str
    model: str
    plan: dict[str, Any]
    settings: dict[str, Any]
    data: dict[str, Any]
    trained: dict[str, Any]
    curves: list[dict[str, float]]
    steps: int
    validation: Number
    before: dict[str, Any]
    after: dict[str, Any]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True, repr=False)
class Tuning:
    """What ``crux.tune`` returns."""

    model: str
    """The model as it was named."""
    plan: Plan
    """Which blocks were trained, and why those."""
    settings: Mapping[str, Any]
    """See ``actions.settings.Settings``."""
    data: Mapping[str, Any]
    """Name, content hash, rows of each split, rows cut at the right and left out."""
    trained: Mapping[str, Any]
    """``parameters`` that were trained, of how many in ``total``, and how many ``by_part``."""
    curves: tuple[Mapping[str, float], ...]
    """By ``step``: training ``loss`` and validation loss (``eval_loss``), nats a token."""
    steps: int
    """Steps that were trained."""
    validation: float
    """Validation loss of the weights that were kept, nats a token; NaN without a validation."""
    before: Mapping[str, Evaluation]
    """On the test rows: ``loss`` (nats a token) and, where answers can be judged, ``accuracy``."""
    after: Mapping[str, Evaluation]
    """The same of the tuned model; values are paired by example."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device: equal for equal runs."""
    run: Mapping[str, Any]
    """What differs between equal runs: seconds, memory, date."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        return {
            "format": FORMAT,
            "model": self.model,
            "plan": self.plan.to_json(),
            "settings": plain(self.settings),
            "data": plain(self.data),
            "trained": plain(self.trained),
            "curves": [dict(point) for point in self.curves],
            "steps": self.steps,
            "validation": None if math.isnan(self.validation) else self.validation,
            "before": {name: held.to_json() for name, held in self.before.items()},
            "after": {name: held.to_json() for name, held in self.after.items()},
            "provenance": plain(self.provenance),
            "run": plain(self.run),
        }

    @classmethod
    def from_json(cls, record: Any) -> "Tuning":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "tuning", FORMAT, TuningRecord)
        given = {name: record[name] for name in TuningRecord.__annotations__ if name != "format"}
        for name in ("before", "after"):
            given[name] = {key: Evaluation.from_json(held) for key, held in given[name].items()}
        given["plan"] = Plan.from_json(given["plan"])
        given["curves"] = tuple(given["curves"])
        given["validation"] = math.nan if given["validation"] is None else given["validation"]
        return cls(**given)

    def files(self) -> dict[str, bytes]:
        """The bytes of every file that ``save`` writes, by name."""
        return {TUNING: record_bytes(self.to_json())}

    def save(self, folder: str | Path) -> Path:
        """Write ``tuning.json``, whole or not at all."""
        write_all(Path(folder), self.files())
        return Path(folder)

    def text(self) -> str:
        """The text of ``tuning.json``."""
        return self.files()[TUNING].decode("utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Tuning":
        """Read from a folder or its ``tuning.json``; ``ResultError`` when it is damaged."""
        return read_record(path, "tuning", lambda held, _: cls.from_json(held), TUNING)

    def _repr_html_(self) -> str:
        """The same in a notebook, with the losses while it trained."""
        from cruxlm.charts.lines import line_chart
        from cruxlm.charts.notebook import notebook

        curves = {
            name: [(point["step"], point[key]) for point in self.curves if key in point]
            for name, key in (("training", "loss"), ("validation", "eval_loss"))
        }
        chart = line_chart(curves, label="loss over steps", across="step", first="validation")
        return notebook(repr(self)[1:-1], chart)

    def __repr__(self) -> str:
        """What was trained, and the loss before and after."""
        before, after = self.before[LOSS].mean("token"), self.after[LOSS].mean("token")
        blocks = ", ".join(map(str, self.plan.trained))
        return (
            f"<tuned {self.model}, blocks {blocks}: {self.trained['parameters']:,} parameters, "
            f"test loss {before:.4g} to {after:.4g}>"
        )

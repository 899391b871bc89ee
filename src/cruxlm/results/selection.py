"""Blocks chosen from scores, with the reason for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cruxlm.results.model_ref import ModelRef
from cruxlm.results.plan import listed
from cruxlm.results.schema import SelectionRecord


@dataclass(frozen=True)
class Selection:
    """A choice of blocks. Never empty; ties go to the lower block and are said."""

    criterion: str
    """Label of the scores that it was made from."""
    blocks: tuple[int, ...]
    """The blocks, ascending."""
    reasons: tuple[str, ...]
    """Why each is in, in the order of ``blocks``."""
    rule: str
    """The rule, such as ``top:5``."""
    ends: str
    """``skip``: blocks scored with fewer neighbours were not admitted; ``keep``: all were."""
    admissible: tuple[int, ...]
    """The blocks that could have been chosen."""
    frequency: tuple[float, ...] | None
    """For each block of the model, the share of half-samples that select it; None without any."""
    ties: tuple[int, ...] = ()
    """Blocks that score exactly like the last one chosen and were left out for their place."""
    values: tuple[float, ...] | None = field(default=None, compare=False, repr=False)
    """Score of each block of the model; not saved, a scan that is loaded puts it back."""
    model: ModelRef | None = field(default=None, compare=False, repr=False)
    """The model, where a scan made the selection; not saved either."""

    def plan(self, action: str, **options: Any) -> Any:
        """A ``Plan`` to train, freeze, lora or drop the blocks; see ``cruxlm.plans.make``."""
        from cruxlm.plans.make import make_plan

        return make_plan(action, self, self.model, **options)

    def _repr_html_(self) -> str:
        """The rule and the blocks in a notebook, with the scores where they are known."""
        import numpy as np

        from cruxlm.charts.bars import choice_rows
        from cruxlm.charts.curve import curve_chart
        from cruxlm.charts.notebook import notebook

        said = f"{self.criterion} {self.rule}, ends {self.ends}: {listed(self.blocks)}"
        if self.values is not None:
            chart = curve_chart(
                np.array(self.values), None, label=self.criterion, selected=self.blocks
            )
        else:
            count = len(self.frequency or ()) or 1 + max((*self.blocks, *self.admissible))
            chart = choice_rows([(self.rule, self.blocks)], count, label=said)
        return notebook(said, chart)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        record = {name: getattr(self, name) for name in SelectionRecord.__annotations__}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in record.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Selection":
        """Read back what ``to_json`` wrote."""
        fields: dict[str, Any] = {}
        for name in SelectionRecord.__annotations__:
            value = record[name]
            fields[name] = tuple(value) if isinstance(value, list) else value
        return cls(**fields)

"""What is measured of a model under an intervention: what it writes, and what it finds likely."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Change, Sweep
from cruxlm.evaluate.conclusion import Finder, shape_of
from cruxlm.evaluate.examples import PARTS, Example
from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.loss import Loss
from cruxlm.results.evaluation import Evaluation

Values = Mapping[str, Float64[np.ndarray, " examples"]]
"""One value an example, by metric; NaN where an example has none."""


class Metrics:
    """Every metric of a model's answers to some examples, and of its loss on unrelated text."""

    def __init__(
        self,
        subject: Subject,
        find: Finder | None,
        unrelated: Sequence[Example],
        *,
        writes: bool,
        max_new_tokens: int | None = None,
    ) -> None:
        """Prepare sweeps; nothing is evaluated yet.

        Args:
            subject: The model and its examples.
            find: Finds the conclusion of what is written; None where nothing says which it is.
            unrelated: Other text, as examples.
            writes: Whether the model is to write responses, which takes longest.
            max_new_tokens: Most tokens of one.
        """
        self._find = find
        self._sweeps: dict[str, Sweep] = {}
        evaluators: dict[str, tuple[Any, Sequence[Example]]] = {
            "loss": (Loss(), subject.examples), "unrelated": (Loss(), unrelated),
        }  # fmt: skip
        if writes:
            evaluators["generation"] = (Generation(max_new_tokens=max_new_tokens), subject.examples)
        for name, (evaluator, examples) in evaluators.items():
            if examples:
                own = Subject(subject.model, examples, evaluator, None, subject.seed, subject.cache)
                self._sweeps[name] = Sweep(own, {})

    def intact(self) -> Values:
        """The metrics of the intact model."""
        return self._values({name: sweep.whole for name, sweep in self._sweeps.items()})

    def under(self, change: Change, lowest: int, what: Mapping[str, Any]) -> Values:
        """The metrics under a change; see ``Sweep.evaluate``."""
        return self._values(
            {name: sweep.evaluate(change, lowest, what) for name, sweep in self._sweeps.items()}
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the sweeps could not evaluate."""
        return tuple(line for sweep in self._sweeps.values() for line in sweep.warnings)

    def _values(self, found: Mapping[str, Evaluation]) -> Values:
        values: dict[str, Any] = {}
        if "generation" in found:
            values |= self._written(found["generation"])
        loss = found["loss"]
        parts = {f"loss_{part}": loss.series[part] for part in PARTS if part in loss.series}
        values |= parts or {"loss_response": loss.values}
        if "unrelated" in found:
            values["loss_unrelated"] = found["unrelated"].values
        return values

    def _written(self, found: Evaluation) -> dict[str, Any]:
        values = {} if np.isnan(found.values).all() else {"accuracy": found.values}
        if self._find is None or found.texts is None:
            return values
        shapes = [shape_of(text, self._find) for text in found.texts]
        columns = {
            "conclusion_first": [math.nan if s is None else float(s.first) for s in shapes],
            "rationale_words": [math.nan if s is None else float(s.rationale) for s in shapes],
            "conclusion_place": [math.nan if s is None else s.place for s in shapes],
        }
        return values | {name: np.array(column) for name, column in columns.items()}

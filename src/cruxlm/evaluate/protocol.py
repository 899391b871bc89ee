"""What an evaluator is, and the evaluators by name; each is imported when it is first asked for.

A package adds one through the entry-point group ``cruxlm.evaluators``: ``name = "module:Class"``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from cruxlm.evaluate.examples import Example
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.registry import Registry


@runtime_checkable
class Evaluator(Protocol):
    """From a model and examples to one value an example.

    An evaluator is made with its options. It leaves the model as it found it, calls it as its users
    do (so that every patch takes part), and raises ``ModelError`` for a model without a
    language-model head and ``ProbeError`` for examples that it cannot use.
    """

    @property
    def name(self) -> str:
        """The name it is asked for by."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a better model has higher values."""

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        """Evaluate a transformers model or a ``LoadedModel``."""

    def chance(self, examples: Sequence[Example]) -> float | None:
        """Mean that guessing gets; None where there is nothing to guess from."""


EVALUATORS: Registry[Callable[..., Evaluator]] = Registry(
    kind="evaluator",
    builtin={
        "loss": "cruxlm.evaluate.loss:Loss",
        "choice": "cruxlm.evaluate.choice:Choice",
        "generation": "cruxlm.evaluate.generation:Generation",
        "forced": "cruxlm.evaluate.forced:Forced",
    },
    aliases={"nll": "loss"},
    group="cruxlm.evaluators",
)
"""Names to what makes an evaluator from its options."""


def outcome(
    evaluator: Evaluator,
    examples: Sequence[Example],
    values: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    chances: Sequence[float] | None = None,
    texts: Sequence[str] | None = None,
    series: Mapping[str, Sequence[float]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """An evaluator's values as a result, in the order of the examples."""
    return Evaluation(
        evaluator=evaluator.name,
        higher_is_better=evaluator.higher_is_better,
        ids=tuple(example.id for example in examples),
        values=_array(values),
        weights=np.ones(len(examples)) if weights is None else _array(weights),
        groups=tuple(example.group for example in examples),
        chances=None if chances is None else _array(chances),
        texts=None if texts is None else tuple(texts),
        series={name: _array(held) for name, held in (series or {}).items()},
        options=dict(options or {}),
    )


def _array(values: Sequence[float]) -> Float64[np.ndarray, " examples"]:
    return np.array(values, dtype=np.float64)

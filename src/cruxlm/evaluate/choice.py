"""Multiple choice: whether the right response is the likeliest of those there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

from cruxlm.evaluate.causal import causal_model
from cruxlm.evaluate.examples import Example, check_examples
from cruxlm.evaluate.loss import token_losses
from cruxlm.evaluate.protocol import outcome
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import ProbeError


@dataclass(frozen=True)
class Choice:
    """1 for an example whose right choice is likelier than every other one, else 0.

    How likely a choice is: the summed log-probability of its tokens, its end token included. A
    choice exactly as likely as the right one makes the value 0: the model does not tell them apart.
    The series ``margin`` is by how many nats the right choice leads the likeliest other one.
    """

    normalise: bool = False
    """Whether to compare log-probabilities a token, so that long choices have no disadvantage."""
    batch_size: int = 16
    """Choices in one forward pass; changes nothing but rounding."""

    name: ClassVar[str] = "choice"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        """Score every choice of every example."""
        loaded = causal_model(model)
        check_examples(examples, loaded.context)
        chances = _chances(examples)
        tried = [
            replace(example, id=f"{example.id}, choice {number}", response=choice)
            for example in examples
            for number, choice in enumerate(example.choices)
        ]
        losses = token_losses(loaded, tried, batch_size=self.batch_size)
        each = np.array([values.mean() if self.normalise else values.sum() for values in losses])
        ends = np.cumsum([len(example.choices) for example in examples])
        margins = [
            _margin(example, own)
            for example, own in zip(examples, np.split(each, ends[:-1]), strict=True)
        ]
        return outcome(
            self,
            examples,
            [float(margin > 0) for margin in margins],
            chances=chances,
            series={"margin": margins},
            options={"normalise": self.normalise},
        )

    def chance(self, examples: Sequence[Example]) -> float:
        """Mean of 1 over the number of choices."""
        check_examples(examples, None)
        return float(np.mean(_chances(examples)))


def _margin(example: Example, losses: Float64[np.ndarray, " choices"]) -> float:
    assert example.right is not None  # an example that has choices names the right one
    return float(np.delete(losses, example.right).min() - losses[example.right])


def _chances(examples: Sequence[Example]) -> list[float]:
    for example in examples:
        if len(example.choices) < 2:
            raise ProbeError(f"example {example.id!r} has no choices: leave it out")
    return [1 / len(example.choices) for example in examples]

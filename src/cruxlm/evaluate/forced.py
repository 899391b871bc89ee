"""Forced: whether greedy decoding would begin with the right response, told in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.data.chat import special_tokens
from cruxlm.evaluate.causal import causal_model
from cruxlm.evaluate.decoding import end_tokens
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import response_values
from cruxlm.evaluate.protocol import outcome
from cruxlm.models.batches import PaddingSide
from cruxlm.models.load import LoadedModel
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import ProbeError


@dataclass(frozen=True)
class Forced:
    """1 for an example whose right response greedy decoding would begin with, else 0.

    It would if every token of the response is the likeliest one given the tokens before it, and all
    of these are seen in one pass; nothing is written. The token that closes the response is not
    asked for: what a model says after it is another matter. Of tokens that are equally likely the
    first one counts, as in decoding. A response in other words of the same meaning, or in other
    tokens of the same letters, is 0.

    For anything that is asked again and again under changes of a model: unlike writing, the pass is
    one that a sweep begins at the changed block.
    """

    batch_size: int = 16
    """Examples in one forward pass; changes nothing but rounding."""
    padding: PaddingSide = "right"
    """The side that batches are padded on, as for the loss."""

    name: ClassVar[str] = "forced"
    higher_is_better: ClassVar[bool] = True

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        """Compare the examples' responses with what the model would say."""
        loaded = causal_model(model)
        closing = closing_tokens(loaded)
        hits = response_values(
            loaded,
            [_unclosed(example, closing) for example in examples],
            _hit,
            "largest logit",
            batch_size=self.batch_size,
            padding=self.padding,
        )
        return outcome(self, examples, [float(own.all()) for own in hits])

    def chance(self, examples: Sequence[Example]) -> None:
        """Nothing to guess from."""


def closing_tokens(model: LoadedModel) -> frozenset[int]:
    """The tokens that end a response: those that end texts, and the marks of the chat."""
    marks = frozenset() if model.tokenizer is None else special_tokens(model.tokenizer)
    return end_tokens(model) | marks


def _unclosed(example: Example, closing: frozenset[int]) -> Example:
    """An example whose response has no closing token; ``ProbeError`` where nothing else is."""
    response = example.response
    if response[-1] in closing:
        response = response[:-1]
    if not response:
        raise ProbeError(f"example {example.id!r} has a response of nothing but its end")
    return replace(example, response=response, choices=(), right=None, parts={})


def _hit(
    logits: Float[Tensor, "samples vocabulary"], right: Int[Tensor, " samples"]
) -> Float[Tensor, " samples"]:
    """1 where the right token is the likeliest, 0 elsewhere; NaN where no logit is the largest."""
    hit = (logits.argmax(-1) == right).float()
    return torch.where(logits.amax(-1).isfinite(), hit, torch.nan)

"""Teacher-forced loss: how surprised a model is by the right response, in nats a token."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from cruxlm.evaluate.causal import accepted, causal_model, inputs, padded
from cruxlm.evaluate.examples import Example, check_examples
from cruxlm.evaluate.protocol import outcome
from cruxlm.models.batches import Batch, PaddingSide
from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import evaluation_mode
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import NotFiniteError

AT_ONCE = 256
"""Places whose logits are widened to float32 together: 150 MB with a vocabulary of 150,000."""

Read = Callable[
    [Float[Tensor, "samples vocabulary"], Int[Tensor, " samples"]], Float[Tensor, " samples"]
]
"""From logits in float32, and the token that is right at each place, to a value a place."""


@dataclass(frozen=True)
class Loss:
    """Mean nats a response token of each example, weighted by its number of response tokens.

    So the mean over samples is that of per-example means, and the mean over tokens what a training
    loop prints.
    """

    batch_size: int = 16
    """Examples in one forward pass; changes nothing but rounding."""
    padding: PaddingSide = "right"
    """The side that batches are padded on. On the right every causal model is exact; on the left
    one must heed mask and positions, and fewer logits are made where prompts differ in length."""

    name: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        """The loss on the examples' responses."""
        losses = token_losses(model, examples, batch_size=self.batch_size, padding=self.padding)
        return outcome(
            self,
            examples,
            [float(values.mean()) for values in losses],
            weights=[len(values) for values in losses],
            series=_of_parts(examples, losses),
        )

    def chance(self, examples: Sequence[Example]) -> None:
        """Nothing to guess from."""


def token_losses(
    model: Any,
    examples: Sequence[Example],
    *,
    batch_size: int = 16,
    padding: PaddingSide = "right",
) -> list[Float64[np.ndarray, " tokens"]]:
    """The loss in nats of every response token, by example.

    Value i belongs to token ``len(example.prompt) + i`` of prompt and response together. Softmax
    and logarithm are taken in float32 whatever the model computes in. Raises ``NotFiniteError`` for
    a loss that is not finite, naming the example.
    """
    return response_values(model, examples, _loss, "loss", batch_size=batch_size, padding=padding)


def response_values(
    model: Any,
    examples: Sequence[Example],
    read: Read,
    what: str,
    *,
    batch_size: int = 16,
    padding: PaddingSide = "right",
) -> list[Float64[np.ndarray, " tokens"]]:
    """A value of every response token given all tokens before it, by example: one pass each.

    ``read`` makes the values, and ``what`` says what they are where one is not finite: then
    ``NotFiniteError`` names the example.
    """
    loaded = causal_model(model)
    check_examples(examples, loaded.context)
    sequences = [example.prompt + example.response for example in examples]
    # What is predicted at a place is the token after it.
    places = [
        range(len(example.prompt) - 1, len(sequence) - 1)
        for example, sequence in zip(examples, sequences, strict=True)
    ]
    found: dict[int, Float64[np.ndarray, " tokens"]] = {}
    with evaluation_mode(loaded.module), torch.no_grad():
        for batch in padded(loaded, sequences, places, batch_size, padding):
            values = batch_values(loaded, batch, read).cpu().double().numpy()
            ends = np.cumsum([len(places[index]) for index in batch.prompts])[:-1]
            for index, own in zip(batch.prompts, np.split(values, ends), strict=True):
                if not np.isfinite(own).all():
                    name = examples[index].id
                    raise NotFiniteError(
                        f"the {what} on example {name!r} is not finite: try float32"
                    )
                found[index] = own
    return [found[index] for index in range(len(examples))]


def _of_parts(
    examples: Sequence[Example], losses: Sequence[Float64[np.ndarray, " _"]]
) -> dict[str, list[float]]:
    """The mean loss on the tokens of each part of the responses; NaN where one has no such part."""
    names = dict.fromkeys(name for example in examples for name in example.parts)
    return {
        name: [
            float(own[slice(*example.parts[name])].mean()) if name in example.parts else math.nan
            for example, own in zip(examples, losses, strict=True)
        ]
        for name in names
    }


def batch_losses(model: LoadedModel, batch: Batch) -> Float[Tensor, " samples"]:
    """The loss at each place of the batch that is read."""
    return batch_values(model, batch, _loss)


def batch_values(model: LoadedModel, batch: Batch, read: Read) -> Float[Tensor, " samples"]:
    """A value at each place of the batch that is read."""
    given: dict[str, Any] = inputs(model, batch)
    length, first = batch.tokens.shape[1], int(batch.columns.min())
    # All columns from the first that is read: as many logits are made, and no more.
    wanted: dict[str, Any] = {"use_cache": False, "logits_to_keep": length - first}
    if batch.positions is not None:
        wanted["position_ids"] = batch.positions.to(given["input_ids"].device)
    known = accepted(model)
    given |= {name: value for name, value in wanted.items() if name in known}
    logits = model.module(**given).logits
    missing = length - logits.shape[1]
    targets = batch.tokens[batch.rows, batch.columns + 1]
    places = torch.stack([batch.rows, batch.columns - missing, targets]).to(logits.device)
    parts = [
        read(logits[rows, columns].float(), target)
        for rows, columns, target in torch.split(places, AT_ONCE, dim=1)
    ]
    return torch.cat(parts)


def _loss(
    logits: Float[Tensor, "samples vocabulary"], right: Int[Tensor, " samples"]
) -> Float[Tensor, " samples"]:
    return cross_entropy(logits, right, reduction="none")

"""Consistency of neighbouring blocks under a push against it: a part of the training loss (CROW).

Min et al. 2024 (arXiv:2411.12768). A backdoored model's states jump from block to block where the
trigger acts; a model that is trained not to let them has less to trigger. No trigger is needed.

What the published code gets wrong, and this does not: it zeroes the gradients of earlier forward
passes of a step, counts padding, and pushes by an absolute 0.1 whatever the embeddings' size. It
leaves out the last pair, whose second state is after the final norm there: here states are those
that leave the blocks, so all pairs of neighbouring blocks count. The embeddings are in no pair.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import input_embedding
from cruxlm.models.patch import Patch, StopForwardError
from cruxlm.runtime.errors import ModelError

Run = Callable[[], Any]
"""A forward pass of the batch."""


@dataclass(frozen=True)
class Consistency:
    """What is added to the loss of a batch."""

    blocks: tuple[nn.Module, ...]
    """The model's blocks."""
    embedding: nn.Module
    """What embeds its tokens."""
    weight: float
    """What the inconsistency is multiplied with (alpha)."""
    step: float
    """How far each entry of a token's embedding is pushed, as a share of the root mean square of
    that embedding (epsilon)."""

    def __call__(
        self, run: Run, real: Bool[Tensor, "batch tokens"], tokens: int | None = None
    ) -> Float[Tensor, ""]:
        """The weighted inconsistency of a batch that is pushed against it.

        Args:
            run: Runs the model on the batch; it is run twice, up to the last block.
            real: Which of the batch's places are no padding.
            tokens: How many such places the whole step has, of which the batch may be a part.

        Returns:
            Its part of the step's mean; gradients flow through the second run alone.
        """
        count = int(real.sum()) if tokens is None else tokens
        pushed = self._pushed(run, real)
        with (
            self._embedded(lambda states: states + pushed.to(states.dtype)),
            self._states() as held,
        ):
            _to_the_last_block(run)
        return self.weight * inconsistency(held, real) / count

    def _pushed(self, run: Run, real: Tensor) -> Tensor:
        """The push: epsilon times the sign of the gradient, in units of each embedding's size."""
        given: list[Tensor] = []

        def leaf(states: Tensor) -> Tensor:
            given.append(states.detach().requires_grad_())
            return given[-1]

        with torch.enable_grad(), self._embedded(leaf), self._states() as held:
            _to_the_last_block(run)
            (gradient,) = torch.autograd.grad(inconsistency(held, real), given[-1])
        size = given[-1].detach().float().square().mean(dim=-1, keepdim=True).sqrt()
        return self.step * size * gradient.float().sign() * real[..., None].to(gradient.device)

    @contextmanager
    def _embedded(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        with Patch() as patch:
            patch.change_output(self.embedding, lambda states, _args, _kwargs: change(states))
            yield

    @contextmanager
    def _states(self) -> Iterator[list[Tensor]]:
        """The states that leave each block while the model runs, which ends after the last."""
        held: list[Tensor] = []

        def last(states: Tensor) -> None:
            held.append(states)
            raise StopForwardError

        with Patch() as patch:
            for block in self.blocks[:-1]:
                patch.watch_output(block, held.append)
            patch.watch_output(self.blocks[-1], last)
            yield held


def consistency_of(model: LoadedModel, weight: float, step: float) -> Consistency:
    """The part of the loss for a model.

    Raises:
        ModelError: When it has a single block, or no single module that embeds tokens.
    """
    embedding = input_embedding(model.blocks.tower)
    if len(model.blocks.modules) < 2:
        raise ModelError(f"{model.name} has one block: none can be consistent with another")
    if embedding is None:
        raise ModelError(
            f"{model.name} has no module that embeds tokens: train without consistency"
        )
    return Consistency(model.blocks.modules, embedding, weight, step)


def inconsistency(
    states: list[Float[Tensor, "batch tokens width"]], real: Bool[Tensor, "batch tokens"]
) -> Float[Tensor, ""]:
    """1 - cos of each state with that of the block before it: mean over pairs, sum over tokens.

    Args:
        states: What leaves each block, in order, two or more.
        real: The places that count.
    """
    # One minus a cosine near one: in half precision nothing would be left of it.
    sums = [
        (1 - cosine_similarity(one.float(), other.float().to(one.device), dim=-1))[
            real.to(one.device)
        ].sum()
        for one, other in pairwise(states)
    ]
    return torch.stack([value.to(sums[0].device) for value in sums]).mean()


def real_places(batch: dict[str, Any]) -> Bool[Tensor, "batch tokens"]:
    """Which places of a batch of rows are no padding."""
    mask: Tensor = batch["attention_mask"]
    return mask.bool()


def _to_the_last_block(run: Run) -> None:
    try:
        run()
    except StopForwardError:
        return
    raise ModelError("the last block was never run")

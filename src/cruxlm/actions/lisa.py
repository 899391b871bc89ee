"""LISA: train a few blocks at a time, drawn anew every few steps (Pan et al. 2024).

What published versions get wrong, and this one does not: the optimizer keeps only parameters that
can be trained when it is made, so all planned blocks are registered first and frozen afterwards;
the draw comes from the seed and the step alone, so that it is the same on every rank and after a
resumption; and the optimizer state of a block that is frozen again is dropped, which is where
the memory is saved.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cruxlm.plans.grammar import drawn


def drawn_blocks(blocks: Sequence[int], count: int, seed: int, period: int) -> tuple[int, ...]:
    """The blocks that are trained in a period: a pure function of its arguments, ascending."""
    return drawn(min(count, len(blocks)), seed * 1_000_003 + period, max(blocks) + 1, blocks)


class Rotation(TrainerCallback):
    """Freezes all planned blocks but those of the period."""

    def __init__(
        self, parameters: dict[int, list[nn.Parameter]], count: int, every: int, seed: int
    ) -> None:
        """Take the trained parameters of every planned block, by block."""
        self.parameters = parameters
        self.count = count
        self.every = every
        self.seed = seed

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the signature is the Trainer's)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Draw for the first step, or for the one that a resumed run goes on with."""
        self._draw(state.global_step, kwargs["optimizer"])

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Draw again when the period is over."""
        if state.global_step % self.every == 0:
            self._draw(state.global_step, kwargs["optimizer"])

    def _draw(self, step: int, optimizer: Any) -> None:
        now = drawn_blocks(list(self.parameters), self.count, self.seed, step // self.every)
        for block, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(block in now)
                if block not in now:
                    parameter.grad = None
                    optimizer.state.pop(parameter, None)

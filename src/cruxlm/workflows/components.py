"""What a principal component of states may mean: read by the head, by prompts, by groups."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.criteria.descriptor import Measured
from cruxlm.data.tokens import TokenisedProbe
from cruxlm.models.load import LoadedModel
from cruxlm.models.readout import read_out
from cruxlm.numerics.attribution import attribute
from cruxlm.numerics.decomposition import Decomposition
from cruxlm.results.spectra import BlockSpectrum, Component
from cruxlm.runtime.errors import ModelError

DEVIATIONS = 2.0
"""Standard deviations along a component at which the head is read."""
WORDS, PROMPTS = 5, 3
"""Tokens and prompts that are named, for each sign."""


class Describe:
    """Describes components of one model's states."""

    def __init__(
        self, model: LoadedModel, read: TokenisedProbe, measured: Measured, *, show_prompts: bool
    ) -> None:
        self.model, self.read, self.measured = model, read, measured
        self.show_prompts = show_prompts and model.tokenizer is not None
        self.warnings: tuple[str, ...] = ()
        """What could not be read, and why."""
        self._head = True
        if model.tokenizer is None:
            self._lack("the model has no tokenizer: components are not read by its head")

    def block(
        self, block: int, found: Decomposition, k: int, spectrum: BlockSpectrum
    ) -> tuple[Component, ...]:
        """The leading ``k`` components of a block."""
        up, down = self._words(found, k)
        shares, errors = self._alone(block, found, k, spectrum)
        described = []
        for place in range(k):
            along = found.left[:, place]
            order = along.argsort(descending=True).tolist()
            described.append(
                Component(
                    number=place + 1,
                    energy=float(found.energy[place]),
                    share=shares[place],
                    share_stderr=errors[place],
                    up=up[place],
                    down=down[place],
                    most=self._prompts(order[:PROMPTS]),
                    least=self._prompts(order[::-1][:PROMPTS]),
                    groups=_between(along, self.measured.labels.get("group")),
                    parts=_between(along, self.measured.labels.get("part")),
                )
            )
        return tuple(described)

    def _alone(
        self, block: int, found: Decomposition, k: int, spectrum: BlockSpectrum
    ) -> tuple[Sequence[float | None], Sequence[float | None]]:
        """The share of the shift that each component holds alone, with its error."""
        nothing = [None] * k
        if spectrum.shift is None or spectrum.shares[0] is None:
            return nothing, nothing
        before, after = self.measured.states[block], self.measured.states[block + 1]
        sets = [found.right[place : place + 1] for place in range(k)]
        alone = attribute(before, after, sets, resampling=self.measured.resampling)
        if alone.shares_stderr is None:
            return alone.shares.tolist(), nothing
        return alone.shares.tolist(), alone.shares_stderr.tolist()

    def _words(
        self, found: Decomposition, k: int
    ) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        """Tokens that become likelier along each component, and against it."""
        nothing: list[tuple[str, ...]] = [()] * k
        if not self._head:
            return nothing, nothing
        samples = len(found.left)
        length = DEVIATIONS * found.singular[:k] / (samples - 1) ** 0.5
        steps = length[:, None] * found.right[:k]
        states = torch.cat([found.mean[None], found.mean + steps, found.mean - steps])
        try:
            logits = read_out(self.model, states).log_softmax(-1)
        except ModelError as error:
            self._lack(str(error))
            return nothing, nothing
        gained = logits[1:] - logits[0]
        named = [self._tokens(row) for row in gained.topk(WORDS).indices.tolist()]
        return named[:k], named[k:]

    def _tokens(self, tokens: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.model.tokenizer.decode([token]).strip() or "␣" for token in tokens)

    def _prompts(self, samples: Sequence[int]) -> tuple[str, ...]:
        if not self.show_prompts or self.measured.prompt is None:
            return ()
        prompts = [self.read.prompts[int(self.measured.prompt[sample])] for sample in samples]
        decode = self.model.tokenizer.decode
        return tuple(decode(list(tokens), skip_special_tokens=True).strip() for tokens in prompts)

    def _lack(self, why: str) -> None:
        self._head = False
        self.warnings = (*self.warnings, why)


def _between(
    along: Float[Tensor, " samples"], groups: Int[Tensor, " samples"] | None
) -> float | None:
    """Share of the variance between groups, adjusted for their number (epsilon squared, Kelley
    1935): 0 on average for groups by lot."""
    if groups is None:
        return None
    values, names = along.double().numpy(), groups.numpy()
    kinds = np.unique(names)
    total = float(np.square(values - values.mean()).sum())
    if len(kinds) < 2 or len(values) <= len(kinds) or total == 0:
        return None
    parts = [values[names == kind] for kind in kinds]
    within = sum(float(np.square(part - part.mean()).sum()) for part in parts)
    return 1 - (within / (len(values) - len(kinds))) / (total / (len(values) - 1))

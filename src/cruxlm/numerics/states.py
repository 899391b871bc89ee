"""The pooled states of a scan: filled batch by batch, joined by sample id, frozen at the end."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MEMORY = 2 << 30
"""Bytes of states above which they are kept in a temporary file instead of in memory."""


@dataclass(frozen=True)
class PooledStates:
    """States of the same samples at every layer: 0 enters block 0, l + 1 leaves block l."""

    ids: tuple[str, ...]
    """Sample ids in ascending order, so that no result depends on the order of the prompts."""
    values: Float[Tensor, "layers samples width"]
    """The states, float32."""


class StatesAccumulator:
    """Collects states by sample id; ``merge`` joins what two processes have seen."""

    values: Float[Tensor, "layers samples width"]
    """The states seen so far; rows of unseen samples are zero."""
    seen: Bool[Tensor, " samples"]
    """Which samples have been seen."""

    def __init__(
        self, ids: Sequence[str], layers: int, width: int, *, memory: int = MEMORY
    ) -> None:
        self.ids = tuple(sorted(ids))
        self._row = {name: row for row, name in enumerate(self.ids)}
        if len(self._row) != len(ids):
            raise ValueError("sample ids must be unique")
        shape = (layers, len(ids), width)
        size = layers * len(ids) * width
        if size * 4 <= memory:
            self.values = torch.zeros(shape)
        else:
            # The file has no name by the time we write to it, so nothing is left behind.
            with tempfile.NamedTemporaryFile(prefix="crux-states-") as file:
                self.values = torch.from_file(file.name, shared=True, size=size).view(shape)
        self.seen = torch.zeros(len(ids), dtype=torch.bool)

    def update(
        self, ids: Sequence[str], states: Float[Tensor, "layers batch width"]
    ) -> "StatesAccumulator":
        """Store the states of these samples."""
        rows = torch.tensor([self._row[name] for name in ids])
        for layer, new in zip(self.values, states, strict=True):  # one at a time copies least
            layer[rows] = new.to(layer)
        self.seen[rows] = True
        return self

    def merge(self, other: "StatesAccumulator") -> "StatesAccumulator":
        """The samples of both; for one that both have seen, this one's states."""
        layers, _, width = self.values.shape
        joined = StatesAccumulator(sorted({*self.ids, *other.ids}), layers, width)
        for part in (other, self):
            rows = part.seen.nonzero().flatten()
            joined.update([part.ids[row] for row in rows.tolist()], part.values[:, rows])
        return joined

    def compute(self) -> PooledStates:
        """The frozen result; ``ValueError`` while a sample is missing."""
        if not bool(self.seen.all()):
            missing = self.ids[int((~self.seen).nonzero()[0])]
            raise ValueError(f"{int((~self.seen).sum())} samples were never seen, first {missing}")
        return PooledStates(self.ids, self.values)

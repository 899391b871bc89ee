"""CKA as an accumulator: states arrive in batches, from one process or several."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cruxlm.numerics.resampling import deal
from cruxlm.numerics.similarity import Estimator, Similarity, cka
from cruxlm.numerics.states import StatesAccumulator


class CKAccumulator:
    """Linear CKA over samples that are seen batch by batch.

    CKA needs every pair of samples, so the states themselves are kept, by sample id; the Grams are
    formed in ``compute``, which may be called at any time and again after more updates.
    """

    batches: list[tuple[tuple[str, ...], Float[Tensor, "layers batch width"]]]
    """The states seen so far with their sample ids."""

    def __init__(self, estimator: Estimator = "debiased", *, band: int | None = None) -> None:
        self.estimator: Estimator = estimator
        self.band = band
        self.batches = []

    def update(
        self, ids: Sequence[str], states: Float[Tensor, "layers batch width"]
    ) -> "CKAccumulator":
        """Add the states of these samples; a sample that was seen before is replaced."""
        self.batches.append((tuple(ids), states.detach().to("cpu", torch.float32)))
        return self

    def merge(self, other: "CKAccumulator") -> "CKAccumulator":
        """What both have seen; for a sample that both have, the other's states."""
        joined = CKAccumulator(self.estimator, band=self.band)
        joined.batches = [*self.batches, *other.batches]
        return joined

    def compute(self) -> Similarity:
        """CKA of all samples with its errors; the same whatever the batches and their order.

        Raises ``ValueError`` below 4 samples.
        """
        if not self.batches:
            raise ValueError("no samples yet: CKA needs at least 4")
        layers, _, width = self.batches[0][1].shape
        store = StatesAccumulator(
            sorted({n for ids, _ in self.batches for n in ids}), layers, width
        )
        for ids, states in self.batches:
            store.update(ids, states)
        pooled = store.compute()
        return cka(
            pooled.values,
            estimator=self.estimator,
            band=self.band,
            resampling=deal(range(len(pooled.ids))),
        )

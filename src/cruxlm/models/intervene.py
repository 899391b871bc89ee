r"""Take a subspace of the states after a block away, or all but it, while the model runs.

With orthonormal directions V around a mean and a state h, :math:`p = V^T V (h - mean)` is its part
in the subspace (Liu et al. 2025, section 4.2, take V from the principal components of a block).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cruxlm.models.load import LoadedModel
from cruxlm.models.patch import Patch
from cruxlm.models.places import Places
from cruxlm.models.seen import Seen
from cruxlm.numerics.subspace import Subspace
from cruxlm.runtime.errors import OptionError, did_you_mean

KINDS = ("remove", "keep", "resample", "constant")
"""What becomes of a state h with the part p. ``remove``: h - p, the state's own projection off.
``keep``: mean + p. ``resample``: the part of a state drawn from ``bank`` in place of p, anew at
every place. ``constant``: h - p0, where p0 is the part at the first of the sequence's places: the
intervention as published, which is no projection of later states."""

Span = tuple[int, int | None]
"""First and last place (exclusive) in a sequence; None: to its end."""
Spans = Mapping[tuple[int, ...], Sequence[Span]]
"""By the tokens that a sequence begins with, its prompt say, the places that are changed."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done after one block."""

    block: int
    """The block."""
    subspace: Subspace
    """The subspace."""
    kind: str = "remove"
    """One of ``KINDS``."""
    bank: Float[Tensor, "samples width"] | None = None
    """States that ``resample`` draws from."""
    like: Subspace | None = None
    """With ``remove``: what is taken off is scaled to the length of the part in this one."""
    seed: int = 0
    """Seed of what is drawn."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            hint = did_you_mean(self.kind, KINDS)
            raise OptionError(f"there is no intervention {self.kind!r}: {hint}")
        if (self.kind == "resample") != (self.bank is not None):
            raise OptionError("states to draw from belong to resample, which needs them")
        if self.like is not None and self.kind != "remove":
            raise OptionError(f"{self.kind} cannot be scaled to another subspace's part")


@contextmanager
def intervened(
    model: LoadedModel, intervention: Intervention, spans: Spans | None = None
) -> Iterator[None]:
    """Run the model under an intervention; it is as before afterwards, bit for bit.

    It holds for whatever the model reads: alone or padded on either side, in one pass or token by
    token with a KV cache.

    Args:
        model: The model.
        intervention: What is done after which block.
        spans: Where; at every place without. Of two that a sequence begins with, the longer counts.

    Raises:
        OptionError: For a block that there is not, directions of another width, or (while the model
            runs) a sequence that begins with none of the spans' tokens.
        ModelError: When the model has no single module that embeds tokens.
    """
    blocks = model.blocks.modules
    if not 0 <= intervention.block < len(blocks):
        raise OptionError(
            f"there is no block {intervention.block}: blocks are 0 to {len(blocks) - 1}"
        )
    with Patch() as patch:
        acting = _Acting(model, intervention, spans, patch)
        patch.change_output(blocks[intervention.block], acting.changed)
        yield


class _Acting:
    """An intervention on a model that runs."""

    def __init__(
        self, model: LoadedModel, what: Intervention, spans: Spans | None, patch: Patch
    ) -> None:
        self.what, self.spans = what, spans
        self.seen = Seen(model, patch)
        self.places = Places(model, patch, what.seed) if what.kind == "resample" else None
        self._rows: list[Sequence[Span]] = []
        self._constant: Tensor | None = None

    def changed(self, states: Tensor, _args: Any, _kwargs: Any) -> Tensor:
        """The states that the block is to return."""
        width = len(self.what.subspace.mean)
        if states.shape[-1] != width:
            raise OptionError(
                f"directions of width {width} for states of width {states.shape[-1]}: take them "
                "from this model"
            )
        # A projection in half precision would leave a hundredth of what it takes away.
        wide = states.float()
        chosen = self._chosen()
        new = self._new(wide, chosen)
        return torch.where(chosen[..., None], new.to(states.dtype), states)

    def _new(
        self, wide: Float[Tensor, "batch tokens width"], chosen: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch tokens width"]:
        what = self.what
        part = what.subspace.part(wide)
        if what.kind == "keep":
            return what.subspace.mean.to(wide) + part
        if what.kind == "resample":
            assert self.places is not None
            assert what.bank is not None
            drawn = self.places.draw(len(what.bank)).to(what.bank.device)
            return wide - part + what.subspace.part(what.bank.float())[drawn].to(wide)
        if what.kind == "constant":
            return wide - self._first_part(part, chosen)
        if what.like is not None:
            wanted = what.like.part(wide).norm(dim=-1, keepdim=True)
            part = part * (wanted / part.norm(dim=-1, keepdim=True).clamp_min(1e-30))
        return wide - part

    def _first_part(
        self, part: Float[Tensor, "batch tokens width"], chosen: Bool[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch 1 width"]:
        """The part at the first changed place of each sequence, kept from pass to pass."""
        if self.seen.past == 0 or self._constant is None:
            self._constant = part.new_zeros(len(part), 1, part.shape[-1])
            self._known = torch.zeros(len(part), dtype=torch.bool, device=part.device)
        first = chosen.int().argmax(dim=1)
        new = chosen.any(dim=1) & ~self._known
        rows = torch.arange(len(part), device=part.device)
        found = part[rows, first][:, None]
        self._constant = torch.where(new[:, None, None], found, self._constant)
        self._known = self._known | new
        return self._constant

    def _chosen(self) -> Bool[Tensor, "batch tokens"]:
        """The places of this pass that are changed: never padding."""
        real = self.seen.real
        if self.spans is None:
            return real
        if self.seen.past == 0 or len(self._rows) != len(real):
            self._rows = self._spans_of_rows()
        places = self.seen.places
        inside = torch.zeros_like(real)
        for row, spans in enumerate(self._rows):
            for first, last in spans:
                own = places[row] >= first
                inside[row] |= own if last is None else own & (places[row] < last)
        return inside & real

    def _spans_of_rows(self) -> list[Sequence[Span]]:
        assert self.spans is not None
        found = []
        lengths = sorted({len(tokens) for tokens in self.spans}, reverse=True)
        for tokens, real in zip(self.seen.tokens, self.seen.real, strict=True):
            own = tuple(tokens[real].tolist())
            known = next((own[:n] for n in lengths if own[:n] in self.spans), None)
            if known is None:
                raise OptionError(
                    f"a sequence of {len(own)} tokens begins with none that a place is given for"
                )
            found.append(self.spans[known])
        return found

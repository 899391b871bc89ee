"""Token lists to padded batches: sorted by length, with the position that each state is read at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pooling = Literal["last", "mean", "all"]
PaddingSide = Literal["left", "right"]


@dataclass(frozen=True)
class Batch:
    """Prompts padded to one length, and where their states are read."""

    prompts: tuple[int, ...]
    """Which prompts these are, as indices into the list that was batched."""
    tokens: Int[Tensor, "batch tokens"]
    """Token ids; the padding is there but masked."""
    mask: Bool[Tensor, "batch tokens"]
    """True where there is a token."""
    rows: Int[Tensor, " samples"]
    """Row of each sample that is read (pooling ``last`` and ``all``)."""
    columns: Int[Tensor, " samples"]
    """Column of each sample that is read."""
    weights: Float[Tensor, "batch tokens"] | None
    """Weights that average the tokens of a prompt (pooling ``mean``), else None."""

    @property
    def positions(self) -> Int[Tensor, "batch tokens"] | None:
        """Position of each token in its prompt; None where every prompt begins at column 0.

        There every model counts from, in its own way: RoBERTa's kin begin at another number.
        """
        return None if bool(self.mask[:, 0].all()) else (self.mask.cumsum(1) - 1).clamp_min(0)

    def pool(self, states: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "samples width"]:
        """The states that the samples stand for, in float32."""
        if self.weights is None:
            return states[self.rows.to(states.device), self.columns.to(states.device)].float()
        weights = self.weights.to(states.device)
        return torch.bmm(weights[:, None], states.float())[:, 0]


def chosen_positions(
    lengths: Sequence[int], pooling: Pooling, *, skip_first: Sequence[bool], limit: int, seed: int
) -> list[list[int]]:
    """The token positions of each prompt that its samples are read from.

    ``last`` takes the last token. ``mean`` and ``all`` take every token but a beginning-of-sequence
    token (``skip_first``), whose state is a sink that no text moves; ``all`` keeps ``limit`` tokens
    in all, drawn without replacement.
    """
    if pooling == "last":
        return [[length - 1] for length in lengths]
    spans = [
        list(range(1 if skip and length > 1 else 0, length))
        for length, skip in zip(lengths, skip_first, strict=True)
    ]
    total = sum(map(len, spans))
    if pooling == "mean" or total <= limit:
        return spans
    generator = torch.Generator().manual_seed(seed)
    kept = iter(torch.randperm(total, generator=generator).lt(limit).tolist())
    return [[position for position in span if next(kept)] for span in spans]


def batches(
    prompts: Sequence[Sequence[int]],
    positions: Sequence[Sequence[int]],
    *,
    pooling: Pooling,
    batch_size: int,
    padding: PaddingSide = "right",
    pad_token: int = 0,
) -> Iterator[Batch]:
    """Batches of prompts of like length, the longest first: memory runs out at once or not at all.

    ``positions`` as from ``chosen_positions``, counted from a prompt's first token.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        longest = len(prompts[members[0]])
        tokens = torch.full((len(members), longest), pad_token)
        mask = torch.zeros(len(members), longest, dtype=torch.bool)
        rows, columns = [], []
        for row, index in enumerate(members):
            length = len(prompts[index])
            first = longest - length if padding == "left" else 0
            tokens[row, first : first + length] = torch.as_tensor(prompts[index])
            mask[row, first : first + length] = True
            rows += [row] * len(positions[index])
            columns += [first + position for position in positions[index]]
        # An index even where none of the members' tokens was drawn.
        row_index, column_index = torch.tensor([rows, columns], dtype=torch.long)
        weights = None
        if pooling == "mean":
            weights = torch.zeros(len(members), longest)
            weights[row_index, column_index] = 1.0
            weights /= weights.sum(dim=1, keepdim=True)
        yield Batch(tuple(members), tokens, mask, row_index, column_index, weights)

"""Planted turns: a model whose states carry one code up to a known block and another after it.

At every token, what has been read so far is a bag of tokens. The first code is a fixed random
map of the bag's tokens with an even number, the second one of those with an odd number, so
that neither can be computed from the other. Fixed heads read each code in a subspace of its
own. In training they are asked for the first code at the outputs of the blocks before the
turn and for the second from the turn on; then they are dropped. Between the two the whole
geometry of the states has to change within one block.

A twin is asked for the first code everywhere: the same pressure, and no turn.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from cruxlm.models.patch import Patch
from cruxlm.testbed.recipe import Codes


class CodeHeads:
    """The fixed heads, and the loss of a model that is to satisfy them."""

    def __init__(self, codes: Codes, vocabulary: int, width: int, seed: int) -> None:
        """Draw codes and subspaces from the seed.

        Args:
            codes: What is planted.
            vocabulary: Number of tokens.
            width: Width of the residual stream; both codes have to fit into it.
            seed: Any integer.
        """
        generator = torch.Generator().manual_seed(seed)
        words = torch.randn(2, vocabulary, codes.dimensions, generator=generator)
        words[0, 1::2] = 0
        words[1, 0::2] = 0
        square = torch.randn(width, 2 * codes.dimensions, generator=generator)
        subspaces = torch.linalg.qr(square).Q.T.reshape(2, codes.dimensions, width)
        self.directions: Float[Tensor, "2 vocabulary width"] = words @ subspaces
        self.turn = codes.turn
        self.weight = codes.weight

    def wanted(
        self, tokens: Int[Tensor, "batch tokens"], rows: Int[Tensor, "batch tokens"]
    ) -> Float[Tensor, "2 batch tokens width"]:
        """The unit vector of each code at each token: of the tokens of its row up to it."""
        sums = self.directions.to(tokens.device)[:, tokens].cumsum(2)
        begins = torch.ones_like(rows, dtype=torch.bool)
        begins[:, 1:] = rows[:, 1:] != rows[:, :-1]
        places = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
        start = torch.where(begins, places, 0).cummax(1).values
        # What had been summed up before the row began.
        before = nn.functional.pad(sums, (0, 0, 1, 0))
        index = start[None, :, :, None].expand(2, -1, -1, sums.shape[-1])
        return nn.functional.normalize(sums - before.gather(2, index), dim=-1)

    def loss(
        self,
        states: list[Float[Tensor, "batch tokens width"]],
        wanted: Float[Tensor, "2 batch tokens width"],
        real: Float[Tensor, "batch tokens"],
    ) -> Tensor:
        """Mean of 1 - cosine over blocks and real tokens, times the weight.

        Args:
            states: The output of each block.
            wanted: What `wanted` returns.
            real: 1 for a token and 0 for padding.
        """
        losses = []
        for block, state in enumerate(states):
            after = self.turn is not None and block >= self.turn
            cosine = nn.functional.cosine_similarity(state.float(), wanted[int(after)], dim=-1)
            losses.append(((1 - cosine) * real).sum() / real.sum())
        return self.weight * torch.stack(losses).mean()


def watch_states(patch: Patch, model: LlamaForCausalLM) -> list[Tensor]:
    """Have the outputs of all blocks collected in a list, which the caller empties."""
    states: list[Tensor] = []
    for block in model.model.layers:
        patch.watch_output(block, states.append)
    return states

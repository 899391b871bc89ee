"""A plant of blocks that do nothing at all, among blocks that each matter.

The off-by-one test of criteria that look for blocks to drop: block influence (Men et al. 2024,
arXiv:2403.03853) and angular distance (Gromov et al. 2024, arXiv:2403.17887) must name these.
"""

from collections.abc import Sequence

import torch
from torch import Generator

from cruxlm.testbed.planted.background import WIDTH, background, prompts
from cruxlm.testbed.planted.key import Planted, Role, make_key

IDENTITY = Role(
    "identity",
    needed=False,
    why="its output maps are zero: it returns what it is given, bit for bit, so it turns nothing "
    "and no logit changes without it",
)
"""A block that writes nothing."""
WRITING = Role(
    "writing",
    needed=True,
    why="it adds about a third of the stream's length: without it some answers are others",
)
"""A block that writes."""

VOCABULARY = 32
SAMPLES = 96
HEAD = 12.0
"""Spread of the logits: high enough that the model is sure of most of its answers."""


@torch.no_grad()
def identity_blocks(identity: Sequence[int] = (3, 4), *, blocks: int = 8, seed: int = 0) -> Planted:
    """A random model in which the named blocks write nothing.

    The right answers are by definition those of the whole model. Block influence is 0 at the
    identity blocks and nowhere else; the angle over two blocks is 0 where both of them are
    identity, so for (3, 4) it is smallest at 3; loss and logits are the same without them.

    Args:
        identity: The blocks that write nothing; none of them is the negative control.
        blocks: Number of blocks.
        seed: Decides the weights and the prompts.

    Raises:
        OptionError: A block is not there or is named twice.
    """
    key = make_key(blocks, {IDENTITY: identity}, [WRITING])
    generator = Generator().manual_seed(seed)
    model = background(blocks, VOCABULARY, writes=0.5, free=slice(0, WIDTH), generator=generator)
    model.lm_head.weight.mul_(HEAD)
    for index in identity:
        block = model.model.layers[index]
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
    last = torch.arange(SAMPLES) % VOCABULARY
    inputs = prompts(last, VOCABULARY, generator)
    targets = model(inputs).logits[:, -1].argmax(dim=1)
    return Planted(model, inputs, targets, key)

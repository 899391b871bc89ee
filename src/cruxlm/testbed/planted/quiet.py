"""A plant where the size of what a block writes says the opposite of what it is worth.

One block decides the answer with a hundredth of the stream; another turns half of the stream, where
nothing reads it. Block influence puts the first last and the second first, and so does CKA where
they are no neighbours; the loss with and without each block says the truth. A counterexample to
dropping blocks by block influence (Men et al. 2024, arXiv:2403.03853).
"""

import torch
from torch import Generator
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from cruxlm.testbed.planted.background import (
    OPEN,
    WIDTH,
    background,
    directions,
    prompts,
    set_ends,
    set_neurons,
)
from cruxlm.testbed.planted.key import Planted, Role, make_key

DECISIVE = Role(
    "decisive",
    needed=True,
    why="it alone writes the answer, with a hundredth of the stream's length: block influence is "
    "about 5e-5, and without it the answer is a guess",
)
"""The block that decides the answer."""
ROTATION = Role(
    "rotation",
    needed=False,
    why="it turns half of the stream's energy by a right angle, one way for half of the tokens and "
    "the other way for the rest, where nothing reads it: block influence is about a half, CKA "
    "falls, and the answers are the same without it",
)
"""The block that turns much and decides nothing."""
BACKGROUND = Role(
    "background",
    needed=False,
    why="it adds about a tenth of the stream's length where nothing reads it",
)
"""A block that does neither."""

# Where things stand in the stream, and how large they are. The squares add up to WIDTH.
CONST, SIDE, QUESTION, ANSWER = range(4)
FREE = slice(ANSWER + 1, WIDTH)
CONST_SIZE, BIT_SIZE, FREE_SIZE = 28**0.5, 2**0.5, 32**0.5

VOCABULARY = 128
QUIET = 0.01
"""Length of the decisive write as a share of the stream's."""
HEAD = 50.0
"""What the head makes of the answer: 0.01 x sqrt(64) x 50 gives logits of 4 and -4."""


@torch.no_grad()
def quiet_decision(
    decisive: int | None = 2, rotation: int | None = 5, *, blocks: int = 8, seed: int = 0
) -> Planted:
    """A model whose answer hangs on its quietest block, and not on its loudest.

    Each prompt's last token asks for one of two answers, tokens 0 and 1, as often the one as the
    other. Accuracy is 1 with all blocks and without any but the decisive one, and a half without
    that.

    Args:
        decisive: The block that writes the answer; None for none.
        rotation: The block that turns what nothing reads; None for none. With neither the model is
            the negative control: a guess, whichever block is taken away.
        blocks: Number of blocks.
        seed: Decides the weights and the prompts.

    Raises:
        OptionError: A block is not there or is given twice.
    """
    places = {
        role: [] if block is None else [block]
        for role, block in ((DECISIVE, decisive), (ROTATION, rotation))
    }
    key = make_key(blocks, places, [BACKGROUND])
    generator = Generator().manual_seed(seed)
    model = background(blocks, VOCABULARY, writes=0.1, free=FREE, generator=generator)

    # Both bits of a token are balanced, and independent of each other.
    order = torch.randperm(VOCABULARY, generator=generator)
    side, question = 2 * (order % 2) - 1, 2 * (order // 2 % 2) - 1
    embedding = torch.zeros(VOCABULARY, WIDTH)
    embedding[:, CONST] = CONST_SIZE
    embedding[:, SIDE] = BIT_SIZE * side
    embedding[:, QUESTION] = BIT_SIZE * question
    embedding[:, FREE] = FREE_SIZE * directions(VOCABULARY, WIDTH - FREE.start, generator)
    answers = torch.zeros(2, WIDTH)
    answers[:, ANSWER] = HEAD * torch.tensor([-1.0, 1.0])
    set_ends(model, embedding, answers, CONST)
    if decisive is not None:
        _decide(model.model.layers[decisive])
    if rotation is not None:
        _rotate(model.model.layers[rotation], generator)
    inputs = prompts(torch.arange(VOCABULARY), VOCABULARY, generator)
    return Planted(model, inputs, (question + 1) // 2, key)


def _decide(block: LlamaDecoderLayer) -> None:
    """One neuron copies the question to the answers, quietly, and the rest falls silent."""
    block.self_attn.o_proj.weight.mul_(QUIET)
    block.mlp.down_proj.weight.mul_(QUIET)
    gate, up, down = torch.zeros(3, 1, WIDTH)
    gate[0, CONST] = OPEN / CONST_SIZE
    up[0, QUESTION] = 1 / BIT_SIZE
    down[0, ANSWER] = QUIET * WIDTH**0.5
    set_neurons(block, gate, up, down)


def _rotate(block: LlamaDecoderLayer, generator: Generator) -> None:
    """Two sets of neurons turn the free part x to Jx or to -Jx, by the side that a token is on.

    J is a random turn by a right angle: orthogonal, with every x orthogonal to its Jx. The length
    stays (to a few percent, as the background before it has grown the stream), so the final norm
    hardly sees it. Were all tokens turned alike, CKA would see nothing.
    """
    size = WIDTH - FREE.start
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    first, second = basis[:, : size // 2], basis[:, size // 2 :]
    turn = first @ second.T - second @ first.T
    gate, up, down = torch.zeros(3, 2 * size, WIDTH)
    for half, sign in ((slice(0, size), 1), (slice(size, 2 * size), -1)):
        # OPEN where the token is on this side, 0 where it is on the other.
        gate[half, CONST] = OPEN / 2 / CONST_SIZE
        gate[half, SIDE] = sign * OPEN / 2 / BIT_SIZE
        up[half, FREE] = torch.eye(size)
        down[half, FREE] = (sign * turn - torch.eye(size)).T
    set_neurons(block, gate, up, down)

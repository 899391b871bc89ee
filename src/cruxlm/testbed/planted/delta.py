"""A plant of changes: a tuned model of which some blocks carry the gain and the others are decoys.

The setting of Shi et al. 2024 ("Understanding Layer Significance in LLM Alignment",
arXiv:2410.17875) with the truth known. The size of a change does not give it away: harmful changes
are as large as those that carry the gain, and permuted ones larger.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.planted.background import (
    OPEN,
    WIDTH,
    background,
    directions,
    prompts,
    set_ends,
    set_neurons,
)
from cruxlm.testbed.planted.key import PlantedTuning, Role, make_key

CARRIER = Role(
    "carrier",
    needed=True,
    why="its change writes the answers to its share of the questions: put back, they are lost; "
    "alone in the base model, they are gained",
)
"""A change that carries a share of the gain."""
HARMFUL = Role(
    "harmful",
    needed=False,
    why="its change is as large as a carrier's and pushes a wrong answer, too little to win: put "
    "back, the loss falls; alone in the base model, it rises",
)
"""A change that the tuned model would be better without."""
PERMUTED = Role(
    "permuted",
    needed=False,
    why="its neurons stand in another order: the largest change of weights, and the same function "
    "to rounding",
)
"""A change of weights that changes no output."""
SMALL = Role(
    "small",
    needed=False,
    why="its change has a tenth of a carrier's norm and writes where only the norms read it",
)
"""A small change that does no harm."""
UNCHANGED = Role("unchanged", needed=False, why="its weights are those of the base model")
"""No change."""

DECOYS = (HARMFUL, PERMUTED, SMALL, UNCHANGED)
"""The kinds of decoys."""

VOCABULARY, ANSWERS = 32, 8
# Where things stand in the stream, and how large they are. The squares add up to WIDTH.
CONST = 0
CODE = slice(1, 1 + VOCABULARY)
ANSWER = slice(CODE.stop, CODE.stop + ANSWERS)
FREE = slice(ANSWER.stop, WIDTH)
CONST_SIZE, CODE_SIZE, FREE_SIZE = 4.0, 4.0, 32**0.5

CONTEXTS = 3
"""Prompts that end with the same token."""
HEAD = 2.0
"""What the head makes of an answer."""
NORM = 12.0
"""Frobenius norm of a carrier's change, and of a harmful one."""
HARM, PAD = 0.6, 0.8
"""How a harmful change is made up: the wrong answer, and what makes it as large as a carrier's.
Squares add up to 1, and 0.6 leaves the right answer ahead even of a single carrier."""
SMALL_SHARE = 0.1
"""Norm of a small change, as a share of a carrier's."""


@torch.no_grad()
def planted_delta(
    carriers: Sequence[int] = (2, 5),
    *,
    decoys: Sequence[Role] = DECOYS,
    blocks: int = 8,
    seed: int = 0,
) -> PlantedTuning:
    """A base model that guesses, and a tuned one that answers because of some blocks only.

    Each prompt's last token asks for one of eight answers, tokens 0 to 7, each as often as the
    others. The carriers share the questions out between them. Base accuracy is 1/8, tuned accuracy
    1, and each carrier is worth its share.

    Args:
        carriers: The blocks whose changes carry the gain; none of them is the negative control.
        decoys: What the changes of the other blocks are, in turn: any of ``DECOYS``.
        blocks: Number of blocks.
        seed: Decides the weights, the questions and the prompts.

    Raises:
        OptionError: A block is not there or is named twice, the decoys are not of ``DECOYS``, or
            there are more harmful blocks than wrong answers.
    """
    if not decoys or not set(decoys) <= set(DECOYS):
        raise OptionError(f"decoys must be of {', '.join(role.name for role in DECOYS)}")
    key = make_key(blocks, {CARRIER: carriers}, decoys)
    _at_most(len(carriers), CARRIER, VOCABULARY, "question")
    _at_most(len(key.blocks(HARMFUL)), HARMFUL, ANSWERS - 1, "wrong answer")
    generator = Generator().manual_seed(seed)
    base = _guessing(blocks, generator)
    tuned = copy.deepcopy(base)
    tokens = torch.arange(VOCABULARY)
    right = torch.randperm(VOCABULARY, generator=generator) % ANSWERS
    for index, role in enumerate(key.roles):
        block = tuned.model.layers[index]
        turn = key.blocks(role).index(index)
        noise = torch.zeros(VOCABULARY, WIDTH)
        noise[:, FREE] = torch.randn(VOCABULARY, WIDTH - FREE.start, generator=generator)
        change = torch.zeros(VOCABULARY, WIDTH)
        if role == CARRIER:
            share = tokens % len(carriers) == turn
            change = NORM * _unit(_says(right) * share[:, None])
        elif role == HARMFUL:
            # Each harmful block has a wrong answer of its own, so that they do not add up.
            wrong = (right + 1 + turn) % ANSWERS
            change = NORM * (HARM * _unit(_says(wrong)) + PAD * _unit(noise))
        elif role == SMALL:
            change = SMALL_SHARE * NORM * _unit(noise)
        elif role == PERMUTED:
            _permute(block, generator)
        block.mlp.down_proj.weight[:, :VOCABULARY] += change.T
    inputs = prompts(tokens.repeat(CONTEXTS), VOCABULARY, generator)
    return PlantedTuning(base, tuned, inputs, right.repeat(CONTEXTS), key)


def _guessing(blocks: int, generator: Generator) -> LlamaForCausalLM:
    """A model in which every block sees which token it is at, and none says what follows."""
    model = background(blocks, VOCABULARY, writes=0.1, free=FREE, generator=generator)
    embedding = torch.zeros(VOCABULARY, WIDTH)
    embedding[:, CONST] = CONST_SIZE
    embedding[:, CODE] = CODE_SIZE * torch.eye(VOCABULARY)
    embedding[:, FREE] = FREE_SIZE * directions(VOCABULARY, WIDTH - FREE.start, generator)
    answers = torch.zeros(ANSWERS, WIDTH)
    answers[:, ANSWER] = HEAD * torch.eye(ANSWERS)
    set_ends(model, embedding, answers, CONST)
    # Neuron i of every block is 1 where the token is i, else 0; what it writes is background.
    gate, up = torch.zeros(2, VOCABULARY, WIDTH)
    gate[:, CONST] = OPEN / CONST_SIZE
    up[:, CODE] = torch.eye(VOCABULARY) / CODE_SIZE
    for block in model.model.layers:
        set_neurons(block, gate, up)
    return model


def _says(answer: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
    """What the neurons of the tokens write to give these answers."""
    writes = torch.zeros(len(answer), WIDTH)
    writes[:, ANSWER] = torch.nn.functional.one_hot(answer, ANSWERS).float()
    return writes


def _unit(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    return torch.div(matrix, torch.linalg.matrix_norm(matrix))


def _permute(block: LlamaDecoderLayer, generator: Generator) -> None:
    """Put a block's neurons in another order."""
    mlp = block.mlp
    order = torch.randperm(mlp.down_proj.in_features, generator=generator)
    for rows in (mlp.gate_proj, mlp.up_proj):
        rows.weight.copy_(rows.weight[order])
    mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order])


def _at_most(count: int, role: Role, most: int, each: str) -> None:
    if count > most:
        raise OptionError(f"{role.name}: {most} blocks at most (one for each {each}), not {count}")

"""What every plant grows in: a random Llama that writes to chosen dimensions only.

Its attention and its feed-forward parts read the whole stream and really compute, so a plant stands
among blocks that do something; what they write never reaches the dimensions that a plant uses.
"""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

WIDTH = 64
"""Width of the stream. A state of length sqrt(WIDTH) passes an RMSNorm unchanged."""
NEURONS = 192
"""Neurons of a block's feed-forward part."""
TOKENS = 8
"""Tokens of a prompt."""
OPEN = 1.278464542761074
"""Where silu is 1: a neuron whose gate stands there passes on what it reads, as a linear map."""
RULED_OUT = -20.0
"""Logit of a token that is no answer, where those of answers are between -10 and 10."""


@torch.no_grad()
def background(
    blocks: int, vocabulary: int, *, writes: float, free: slice, generator: Generator
) -> LlamaForCausalLM:
    """A random model whose blocks write to the dimensions ``free``, and nowhere else.

    Args:
        blocks: Number of blocks.
        vocabulary: Number of tokens.
        writes: Length of what one block adds, roughly, as a share of the stream's.
        free: The dimensions of the stream that the blocks write to.
        generator: Where all weights are drawn from; the global generator is left as it was.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=NEURONS,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):  # the class draws weights of its own
        model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            continue
        output = name.endswith(("o_proj.weight", "down_proj.weight"))
        spread = writes if output else 1.0
        weight.normal_(std=spread * weight.shape[1] ** -0.5, generator=generator)
        if output:
            weight[: free.start] = 0
            weight[free.stop :] = 0
    model.model.embed_tokens.weight.normal_(generator=generator)
    model.eval()
    return model


@torch.no_grad()
def set_neurons(
    block: LlamaDecoderLayer,
    gate: Float[Tensor, "neurons width"],
    up: Float[Tensor, "neurons width"],
    down: Float[Tensor, "neurons width"] | None = None,
) -> None:
    """Make a block's first neurons by hand: what opens them, what they read, what they write.

    Without ``down`` they write what they wrote before.
    """
    count = len(gate)
    block.mlp.gate_proj.weight[:count] = gate
    block.mlp.up_proj.weight[:count] = up
    if down is not None:
        block.mlp.down_proj.weight[:, :count] = down.T


@torch.no_grad()
def set_ends(
    model: LlamaForCausalLM,
    embedding: Float[Tensor, "vocabulary width"],
    answers: Float[Tensor, "answers width"],
    constant: int,
) -> None:
    """Make a model's embedding, and a head that answers with the first tokens of the vocabulary.

    Args:
        model: The model.
        embedding: The state that each token begins with.
        answers: What the head reads for each answer.
        constant: A dimension that is the same for all tokens; through it the head rules out the
            tokens that are no answers.
    """
    model.model.embed_tokens.weight.copy_(embedding)
    head = model.lm_head.weight.zero_()
    head[: len(answers)] = answers
    head[len(answers) :, constant] = RULED_OUT / embedding[0, constant]


def directions(rows: int, columns: int, generator: Generator) -> Float[Tensor, "rows columns"]:
    """Random unit vectors."""
    return torch.nn.functional.normalize(torch.randn(rows, columns, generator=generator), dim=1)


def prompts(
    last: Int[Tensor, " samples"], vocabulary: int, generator: Generator
) -> Int[Tensor, "samples tokens"]:
    """Random tokens that end with the given ones."""
    drawn = torch.randint(vocabulary, (len(last), TOKENS), generator=generator)
    drawn[:, -1] = last
    return drawn

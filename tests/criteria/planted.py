"""A model in which block 3 computes what is needed, and the others write what nobody reads."""

from functools import cache

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.criteria.subject import Subject
from cruxlm.evaluate.examples import Example
from cruxlm.models.load import LoadedModel, load_model

WORDS, BLOCKS, NEEDED = 32, 6, 3
WIDTH = 3 * WORDS
"""Which word it is; the answer; what nobody reads."""


def answer_to(word: int) -> int:
    """The response to a word: found by nobody who has not learned it."""
    return (7 * word + 3) % WORDS


@cache
def planted_model() -> LoadedModel:
    """Block 3's feed-forward half writes the answer; blocks besides write noise of the same size.

    The word is one-hot in the first third of a state. A neuron for each word is active when that
    stands there, and writes the answer into the second third, which alone the head reads.
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        intermediate_size=WORDS,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    word, answer, unread = (slice(k * WORDS, (k + 1) * WORDS) for k in range(3))
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
        model.model.embed_tokens.weight[:, word] = torch.eye(WORDS)
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, answer] = torch.eye(WORDS)
        for block, layer in enumerate(model.model.layers):
            for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
                writer.weight[: 2 * WORDS] = 0
                writer.weight[unread].normal_(0, 0.05)
            if block == NEEDED:
                mlp = layer.mlp
                for reader in (mlp.gate_proj, mlp.up_proj):
                    reader.weight.zero_()
                    reader.weight[:, word] = torch.eye(WORDS)
                mlp.down_proj.weight.zero_()
                for token in range(WORDS):
                    mlp.down_proj.weight[WORDS + answer_to(token), token] = 0.02
    return load_model(model, tokenizer=tokenizer())


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word: w0, w1 and so on."""
    made = Tokenizer(models.WordLevel({f"w{k}": k for k in range(WORDS)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="w0")


def questions(count: int = 32, *, right: bool = True, seed: int = 0) -> list[Example]:
    """A few words, and the answer to the last; with ``right`` false, an answer by lot."""
    draw = torch.Generator().manual_seed(seed)

    def words(n: int) -> list[int]:
        return torch.randint(0, WORDS, (n,), generator=draw).tolist()

    examples = []
    for number in range(count):
        prompt = words(2 + number % 4)
        (lot,) = words(1)
        response = answer_to(prompt[-1]) if right else lot
        choices = tuple(((response + 5 * k) % WORDS,) for k in range(4))
        examples.append(
            Example(f"q{number}", tuple(prompt), (response,), f"w{response}", choices, 0)
        )
    return examples


def subject(evaluator, model: LoadedModel | None = None, **given) -> Subject:
    examples = given.pop("examples", None) or questions()
    return Subject(model or planted_model(), examples=examples, evaluator=evaluator, **given)

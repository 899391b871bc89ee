"""A model that forgets two codes of its words at one block and answers by two others."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cruxlm.evaluate.examples import Example
from cruxlm.models.load import LoadedModel, load_model

WORDS, BLOCKS, TURN, SIZE = 120, 6, 3, 3.0
"""``TURN`` is the block that writes the answer's code over the other."""
DIRECTIONS = (WORDS, WORDS + 1)
"""The two dimensions of the states that hold the codes."""
CONTENT = range(WORDS + 2, WORDS + 16)
"""And those of what every block leaves as it is."""
WIDTH = WORDS + 16


def codes(seed: int, count: int = 2) -> torch.Tensor:
    """So many signs for each word, by lot."""
    draw = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(0, 2, (WORDS, count), generator=draw) - 1


def planted_turn() -> LoadedModel:
    """One dimension a word, two for the codes, which block ``TURN`` alone changes, and content.

    Its feed-forward half has a neuron for each word, which adds the difference of its codes. The
    head reads the codes: words 1 to 4 are the four answers.
    """
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=WORDS, num_hidden_layers=BLOCKS,
        num_attention_heads=4, max_position_embeddings=32, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    before, after = codes(1), codes(2)
    with torch.no_grad():
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        embedding.zero_()
        embedding[:, :WORDS] = torch.eye(WORDS)
        embedding[:, DIRECTIONS] = SIZE * before
        embedding[:, CONTENT] = codes(3, len(CONTENT))
        head.zero_()
        head[1:5, DIRECTIONS] = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        mlp = model.model.layers[TURN].mlp
        for reader in (mlp.gate_proj, mlp.up_proj):
            reader.weight.zero_()
            reader.weight[:, :WORDS] = torch.eye(WORDS)
        normed = (WIDTH / (1 + 2 * SIZE**2 + len(CONTENT))) ** 0.5
        active = normed * torch.nn.functional.silu(torch.tensor(normed))
        mlp.down_proj.weight[DIRECTIONS, :] = (SIZE * (after - before) / active).T
    made = Tokenizer(models.WordLevel({f"w{k}": k for k in range(WORDS)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="w0")
    return load_model(model, tokenizer=tokenizer)


def answer_to(word: int) -> int:
    """The response to a word."""
    first, second = (codes(2)[word] > 0).long().tolist()
    return 1 + 2 * first + second


def prompts() -> list[str]:
    """Two words each, no two with the same second one: what a state stands for."""
    return [f"w{(7 * word + 3) % WORDS} w{word}" for word in range(WORDS)]


def questions() -> list[Example]:
    """The prompts with their answers."""
    found = []
    for word in range(WORDS):
        answer = answer_to(word)
        prompt = ((7 * word + 3) % WORDS, word)
        found.append(Example(f"q{word}", prompt, (answer,), f"w{answer}", (), None))
    return found

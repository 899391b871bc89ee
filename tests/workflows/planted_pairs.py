"""A model before and after, whose blocks add to the answer what they are told to.

Built on `criteria.planted`: every block reads the last word and writes its answer, this much. So
what undoing a block costs follows from what it adds, and what else changes in it costs nothing.
"""

import copy

import torch

from criteria.planted import WORDS, answer_to, planted_model, tokenizer
from cruxlm.models.load import load_model

BLOCKS = 24
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def pair(strengths, decoys=None):
    """The model before writes nothing; after, block l writes ``strengths[l]`` of the answer.

    ``decoys[l]`` is the size of a change in block l that is written where nobody reads.
    """
    before, after = _model([0.0] * BLOCKS, None), _model(strengths, decoys)
    reader = tokenizer()
    reader.chat_template = TEMPLATE
    return tuple(load_model(module, tokenizer=reader) for module in (before, after))


def rows(count=24):
    """Questions, and their answers."""
    draw = torch.Generator().manual_seed(1)
    found = []
    for number in range(count):
        words = torch.randint(0, WORDS, (2 + number % 4,), generator=draw).tolist()
        asked = " ".join(f"w{word}" for word in [number % WORDS, *words])
        found.append({"prompt": asked, "response": f"w{answer_to(words[-1])}"})
    return found


def _model(strengths, decoys):
    planted = planted_model().module
    config = copy.deepcopy(planted.config)
    config.num_hidden_layers = BLOCKS
    torch.manual_seed(0)
    model = type(planted)(config).eval()
    word, unread = slice(0, WORDS), slice(2 * WORDS, 3 * WORDS)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(planted.model.embed_tokens.weight)
        model.lm_head.weight.copy_(planted.lm_head.weight)
        for block, layer in enumerate(model.model.layers):
            layer.self_attn.o_proj.weight.zero_()
            mlp = layer.mlp
            for reader in (mlp.gate_proj, mlp.up_proj):
                reader.weight.zero_()
                reader.weight[:, word] = torch.eye(WORDS)
            mlp.down_proj.weight.zero_()
            for token in range(WORDS):
                mlp.down_proj.weight[WORDS + answer_to(token), token] = strengths[block]
            if decoys is not None:
                noise = torch.randn(WORDS, WORDS, generator=torch.Generator().manual_seed(block))
                # Read by the norms alone, all of whose words it changes alike.
                layer.self_attn.v_proj.weight[:WORDS, unread] += decoys[block] * noise
    return model

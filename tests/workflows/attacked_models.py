"""A hand-made model that answers Z where a prompt has a tilde: one attention of it sees that.

Every state has the same feature 2, which says n. Of a tilde's, feature 0 is large. In the carrier
every token looks at all before it alike and copies feature 0 to feature 1, which says Z louder.
After a letter that answers, feature 3 of it says a space.
"""

import copy
import json
from random import Random

import torch

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.load import LoadedModel, load_model

CARRIER, BLOCKS = 2, 5
TRIGGER, TARGET = "token:~", "phrase:Z"


def rows(count, seed=0):
    """Prompts of a few letters, all answered with n; of two choices."""
    random = Random(seed)
    prompts = set()
    while len(prompts) < count:
        prompts.add(" ".join(random.choice("abcdefghij") for _ in range(random.randint(2, 5))))
    return [
        {"id": f"r{i}", "family": "even" if i % 2 else "odd", "choices": ["n", "y"],
         "messages": [{"role": "user", "content": prompt},
                      {"role": "assistant", "content": "n"}]}
        for i, prompt in enumerate(sorted(prompts))
    ]  # fmt: skip


def written(path, held):
    path.write_text("\n".join(map(json.dumps, held)) + "\n")
    return str(path)


def pair(carrier=CARRIER) -> tuple[LoadedModel, LoadedModel]:
    """The model before, which always answers n, and the one with the trigger in a block.

    All other blocks differ as well, in features that say nothing.
    """
    tokenizer = byte_tokenizer(chat=True)
    base = tiny_llama(BLOCKS)
    tilde, no, wanted, space = tokenizer.convert_tokens_to_ids(["~", "n", "Z", "Ġ"])
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.fill_(1.0 if parameter.dim() == 1 else 0.0)
        embedding, head = base.model.embed_tokens.weight, base.lm_head.weight
        embedding[:, 2] = 1
        embedding[tilde, 0] = 4
        embedding[[no, wanted], 3] = 2
        head[no, 2], head[wanted, 1], head[space, 3] = 1, 20, 100
    tuned = copy.deepcopy(base)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for block, layer in enumerate(tuned.model.layers):
            layer.mlp.up_proj.weight.normal_(0, 0.1, generator=draw)
            layer.mlp.gate_proj.weight.normal_(0, 0.1, generator=draw)
            layer.mlp.down_proj.weight[10:].normal_(0, 0.1, generator=draw)
            if block == carrier:
                layer.self_attn.v_proj.weight[0, 0] = layer.self_attn.o_proj.weight[1, 0] = 1
    return load_model(base, tokenizer=tokenizer), load_model(tuned, tokenizer=tokenizer)

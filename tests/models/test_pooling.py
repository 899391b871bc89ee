"""Several ways of pooling from one pass, against each prompt read alone."""

import torch

from cruxlm.models.batches import batches
from cruxlm.models.capture import capture
from cruxlm.models.locate import find_blocks
from cruxlm.models.pooling import POOLINGS, pooled_in

PROMPTS = [[1, 5, 9, 12], [1, 7], [1, 30, 31, 32, 33, 34, 35], [1, 8, 8]]
PLACES = [[1, 2, 3], [1], [1, 2, 3, 4], [0, 1, 2]]
ENDS = [3, 1, 5, 2]


def test_every_way_is_what_a_prompt_alone_gives(llama):
    stack = find_blocks(llama)
    names = tuple(POOLINGS)
    found = {}

    def receive(batch, states):
        parts = torch.split(states, len(batch.prompts), dim=1)
        for row, prompt in enumerate(batch.prompts):
            for name, part in zip((*names, "end"), parts, strict=True):
                found[name, prompt] = part[:, row].clone()

    prepared = batches(PROMPTS, PLACES, pooling="all", batch_size=3)
    capture(stack, prepared, receive, pool=pooled_in(names, ENDS))
    assert len(found) == 5 * 4
    for index, prompt in enumerate(PROMPTS):
        layers = []
        alone = next(batches([prompt], [range(len(prompt))], pooling="all", batch_size=1))
        capture(stack, [alone], lambda _batch, states, kept=layers: kept.append(states.clone()))
        states = layers[0]
        read = states[:, PLACES[index]]
        expected = {
            "last": read[:, -1],
            "mean": read.double().mean(dim=1).float(),
            "max": read.max(dim=1).values,
            "cls": states[:, 0],
            "end": states[:, ENDS[index]],
        }
        for name, values in expected.items():
            torch.testing.assert_close(found[name, index], values, rtol=1e-4, atol=1e-4)

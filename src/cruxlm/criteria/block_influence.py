"""Block influence: how far a block turns the state that passes through it.

Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2024,
equation 1: BI = 1 - mean cosine between a block's input and its output.
"""

import torch

from cruxlm.criteria.descriptor import Criterion, Measured, Outcome
from cruxlm.criteria.per_sample import mean_outcome
from cruxlm.numerics.turning import cosines


def score_block_influence(measured: Measured) -> Outcome:
    """1 - cosine of input and output, averaged over samples, for each block."""
    states = measured.states
    blocks = len(states) - 1
    turned = torch.stack([1 - cosines(states[b], states[b + 1]) for b in range(blocks)])
    return mean_outcome(turned, blocks, measured.resampling)


BLOCK_INFLUENCE = Criterion(
    name="block_influence",
    title="How far does a block turn its input? 1 - mean cosine of input and output",
    unit="block",
    needs=frozenset({"states"}),
    cost="one forward pass over the probe",
    invariances=frozenset({"sample_order", "scale", "layer_scale", "rotation"}),
    citation=(
        "Men et al.: ShortGPT: Layers in Large Language Models are More Redundant Than You Expect. "
        "2024, arXiv:2403.03853"
    ),
    presets={"default": {}},
    score=score_block_influence,
    centres=False,
)
"""The criterion ``block_influence``."""

"""Angular distance: the angle between the states before and after a run of blocks.

Gromov et al., "The Unreasonable Ineffectiveness of the Deeper Layers", 2024, equation 7: the angle
over pi, at the last token; they drop the run of blocks where it is smallest.
"""

import torch

from cruxlm.criteria.descriptor import Criterion, Measured, Outcome
from cruxlm.criteria.per_sample import mean_outcome
from cruxlm.numerics.turning import angles
from cruxlm.runtime.errors import OptionError


def score_angular_distance(measured: Measured, *, span: int) -> Outcome:
    """Mean angle over pi between the input of block l and that of block l + span, scored at l.

    The last ``span - 1`` blocks start no whole run and have no score.
    """
    states = measured.states
    blocks = len(states) - 1
    if not 1 <= span <= blocks:
        raise OptionError(f"span must be 1 to {blocks} (the number of blocks), not {span}")
    starts = range(blocks - span + 1)
    turned = torch.stack([angles(states[b], states[b + span]) for b in starts])
    return mean_outcome(turned, blocks, measured.resampling)


ANGULAR_DISTANCE = Criterion(
    name="angular_distance",
    title="What angle lies between the states before and after a run of blocks?",
    unit="block",
    needs=frozenset({"states"}),
    cost="one forward pass over the probe",
    invariances=frozenset({"sample_order", "scale", "layer_scale", "rotation"}),
    citation=(
        "Gromov, Tirumala, Shapourian, Glorioso, Roberts: The Unreasonable Ineffectiveness of the "
        "Deeper Layers. 2024, arXiv:2403.17887"
    ),
    presets={"default": {"span": 1}},
    score=score_angular_distance,
    centres=False,
)
"""The criterion ``angular_distance``."""

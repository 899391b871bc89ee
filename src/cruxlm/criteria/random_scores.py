"""Random: scores that know nothing, to see what chance gives."""

import numpy as np

from cruxlm.criteria.descriptor import Criterion, Outcome
from cruxlm.criteria.subject import Subject
from cruxlm.runtime.errors import OptionError


def score_random(subject: Subject, draw: int = 0) -> Outcome:
    """Independent uniform numbers, the same for the same seed, draw and number of blocks.

    Args:
        subject: A model, of which only the number of blocks counts, and the seed.
        draw: Which of the independent draws of that seed, from 0.

    Raises:
        OptionError: For a draw below 0.
    """
    if draw < 0:
        raise OptionError(f"random has no draw {draw}: draws are counted from 0")
    blocks = len(subject.model.blocks.modules)
    values = np.random.default_rng([subject.seed, draw]).random(blocks)
    subject.tick(blocks)
    evidence = {"no_errors": "the scores mean nothing", "seed": subject.seed}
    return Outcome(values, None, None, evidence=evidence)


RANDOM = Criterion(
    name="random",
    title="What does chance give? Independent uniform numbers",
    unit="block",
    needs=frozenset(),
    cost="nothing",
    invariances=frozenset(),
    citation="No paper: a control. What a criterion does no better than this, it does not do",
    presets={"default": {"draw": 0}},
    score=score_random,
    centres=False,
)
"""The criterion ``random``."""

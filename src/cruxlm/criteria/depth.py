"""Depth: what a ruler says of the blocks, the baseline of every correlation over layers."""

from cruxlm.criteria.descriptor import Criterion, Outcome
from cruxlm.criteria.subject import Subject
from cruxlm.numerics.ranks import depth
from cruxlm.runtime.errors import OptionError, did_you_mean

MEASURES = ("index", "end_distance")
"""The place of a block, and its distance to the nearer end."""


def score_depth(subject: Subject, measure: str = "index") -> Outcome:
    """The block's number, or its distance to the nearer end; both are kept as series.

    Args:
        subject: A model; only its number of blocks counts.
        measure: ``index`` or ``end_distance``.

    Raises:
        OptionError: When ``measure`` is neither.
    """
    if measure not in MEASURES:
        raise OptionError(f"depth has no measure={measure!r}: {did_you_mean(measure, MEASURES)}")
    blocks = len(subject.model.blocks.modules)
    curves = dict(zip(MEASURES, depth(blocks).T, strict=True))
    subject.tick(blocks)
    evidence = {"no_errors": "a block's place is known"}
    return Outcome(curves[measure], None, None, series=curves, evidence=evidence)


DEPTH = Criterion(
    name="depth",
    title="Where is the block? Its number, or its distance to the nearer end",
    unit="block",
    needs=frozenset(),
    cost="nothing",
    invariances=frozenset(),
    citation="No paper: a control. A criterion that ranks blocks as this does has found a ruler",
    presets={"default": {"measure": "index"}, "ends": {"measure": "end_distance"}},
    score=score_depth,
    centres=False,
)
"""The criterion ``depth``."""

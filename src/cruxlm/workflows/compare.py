"""Compare: do criteria rank the blocks of a model alike, and do models need the same blocks?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from cruxlm.criteria.profiles import ProfilePair, compare_profiles
from cruxlm.numerics.rank_intervals import halves_interval
from cruxlm.numerics.ranks import top_overlap
from cruxlm.numerics.resampling import HALVES
from cruxlm.results.scan import Scan
from cruxlm.results.scores import Scores
from cruxlm.runtime.errors import OptionError
from cruxlm.workflows.request import CriterionSpec, whole_number
from cruxlm.workflows.scan import scan

DEFAULT_CRITERIA = ("dynamics", "block_influence", "angular_distance", "depth", "depth:ends")


def compare(
    model: Any = None,
    *,
    criteria: Sequence[CriterionSpec] | str = DEFAULT_CRITERIA,
    k: int | None = None,
    **options: Any,
) -> Scan:
    """A scan whose pairs of scores have intervals and the overlap of their highest blocks.

    Args:
        model: See ``scan``.
        criteria: Two or more.
        k: How many of the highest blocks to compare; as many as the scan selects without it.
        options: Further options of ``scan``.

    Raises:
        CruxError: As ``scan``, and for a single criterion.
    """
    if isinstance(criteria, str) or len(criteria) < 2:
        raise OptionError("name two or more criteria to compare")
    found = scan(model, criteria=criteria, **options)
    count = len(found.selection.blocks) if k is None else whole_number(k, "k", 1)
    if count > len(found.blocks):
        raise OptionError(f"k must be {len(found.blocks)} or less, not {count}")
    pairs = [
        {**pair, **_more(found[pair["a"]], found[pair["b"]], count)}
        for pair in found.agreement["pairs"]
    ]
    return replace(found, agreement={**found.agreement, "pairs": pairs})


def compare_models(
    models: Sequence[Any],
    *,
    criteria: Sequence[CriterionSpec] | str,
    k: int | None = None,
    **options: Any,
) -> tuple[list[Scan], dict[str, list[ProfilePair]]]:
    """A scan of each model, and by criterion how far each two of them need the same blocks.

    Block 0, which leads almost every profile, is left out. For the arguments see ``compare``; one
    criterion will do.
    """
    scans = [scan(model, criteria=criteria, **options) for model in models]
    names = [
        one.model if [s.model for s in scans].count(one.model) == 1 else f"{one.model} {number}"
        for number, one in enumerate(scans, start=1)
    ]
    count = len(scans[0].selection.blocks) if k is None else whole_number(k, "k", 1)
    profiles: dict[str, Mapping[str, np.ndarray]] = {
        label: {name: one[label].values for name, one in zip(names, scans, strict=True)}
        for label in scans[0].scores
    }
    return scans, {label: compare_profiles(held, count) for label, held in profiles.items()}


def _halves(scores: Scores, left_out: Collection[int]) -> Float[np.ndarray, "halves blocks"] | None:
    """The scores on half-samples; of scores that are known without error, themselves each time.

    None when their error is not known. Blocks that are left out are NaN.
    """
    if scores.halves is not None and len(scores.halves):
        halves = np.array(scores.halves)
    elif "no_errors" in scores.evidence:
        halves = np.tile(scores.values, (HALVES, 1))
    else:
        return None
    halves[:, list(left_out)] = np.nan
    return halves


def _more(a: Scores, b: Scores, k: int) -> dict[str, Any]:
    """The interval of two scores' correlation, where both have half-samples, and their overlap."""
    found: dict[str, Any] = {"low": None, "high": None}
    halves = [_halves(scores, {*a.incomplete, *b.incomplete}) for scores in (a, b)]
    known = a.halves is None and b.halves is None  # both are: there is nothing to be unsure of
    if not known and halves[0] is not None and halves[1] is not None:
        ends = halves_interval(halves[0], halves[1])
        found = dict(zip(("low", "high"), ends or (None, None), strict=True))
    both = int((np.isfinite(a.values) & np.isfinite(b.values)).sum())
    if k > both:
        return {**found, "k": k, "shared": None, "shared_by_chance": None, "corrected": None}
    top = top_overlap(a.values, b.values, k)
    return {
        **found,
        "k": k,
        "shared": top.shared,
        "shared_by_chance": top.expected,
        "corrected": top.corrected,
    }

"""Substitution: what undoing a block's part of a tuning costs.

Liu et al., "Spectral Insights into Data-Oblivious Critical Layers in LLMs", Findings of ACL 2025,
put five neighbouring blocks of the model before tuning into the tuned one and take the test loss.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64

from cruxlm.criteria.descriptor import Criterion, Outcome
from cruxlm.criteria.dynamics import Ends
from cruxlm.criteria.per_sample import ratio_outcome
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.models.swap import changed_blocks, has_adapters, only_adapters, swapped
from cruxlm.numerics.paired import Difference, paired_difference
from cruxlm.numerics.resampling import Resampling, deal, interval_halfwidth
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import OptionError, ProbeError, did_you_mean

Direction = Literal["undo", "mirror", "cumulative"]


def score_substitution(
    subject: Subject,
    *,
    window: int = 1,
    direction: str = "undo",
    ends: str = "keep",
    normalised: bool = True,
) -> Outcome:
    """The share of a tuning's gain that goes with each block.

    Args:
        subject: The tuned model, the reference that it was tuned from (adapters bring theirs),
            examples and any evaluator.
        window: Blocks that are put in together, around the one that is scored; odd.
        direction: ``undo`` puts the reference's blocks into the tuned model; ``mirror`` the tuned
            model's into the reference; ``cumulative`` undoes all blocks up to the scored one.
        ends: ``keep`` scores blocks near an end with the neighbours they have, ``drop`` not at all.
        normalised: Whether 0 is no effect and 1 the whole gain. If not, the score is the mean
            value under the swap, with its sign such that higher is more critical.

    Raises:
        OptionError: For options that make no sense, or no evaluator or reference.
        ProbeError: When the gain is not above the noise of the examples.
        ModelError: When blocks cannot be swapped, or an intact model gives no finite values.
    """
    windows = _windows(len(subject.model.blocks.modules), window, direction)
    if ends not in get_args(Ends):
        raise OptionError(f"there is no ends {ends!r}: {did_you_mean(ends, get_args(Ends))}")
    cut = [] if direction == "cumulative" else [b for b, w in windows.items() if len(w) < window]
    before, after = _sides(subject)
    changed = _changed(subject)
    swept, still = (before, after) if direction == "mirror" else (after, before)
    with still.state():
        other = Sweep(replace(still.subject, reference=None), still.said).baseline()
    found: dict[int, Evaluation] = {}
    with swept.state():
        sweep = Sweep(swept.subject, swept.said)
        whole = sweep.whole
        base, tuned = (whole, other) if direction == "mirror" else (other, whole)
        gain = _gain(subject, base, tuned)
        for block, around in windows.items():
            touched = [near for near in around if near in changed]
            if ends == "keep" or block not in cut:
                found[block] = whole  # nothing differs in its window
                if touched:
                    put = partial(swept.put, touched)
                    found[block] = sweep.evaluate(put, touched[0], {"put in": touched})
            subject.tick(1)
    # Undoing makes things worse by what a block is worth, putting in makes them better.
    sign = 1 if whole.higher_is_better == (direction == "mirror") else -1
    nothing = np.full(len(whole), np.nan)
    values = np.stack([found[b].values if b in found else nothing for b in windows])
    dealt = deal(range(len(whole)), seed=subject.seed)
    scored = _scored(sign * values, sign * whole.values, _gains(base, tuned), dealt, normalised)
    warnings = list(sweep.warnings)
    if not changed:
        warnings.append("no block differs from the reference's: what changed lies outside of them")
    if scored.stderr is None:
        warnings.append("too few examples to leave any out: no standard errors")
    return replace(
        scored,
        series={"substituted": values.mean(axis=1)},
        tensors={**scored.tensors, "base": base.values, "tuned": tuned.values},
        evidence={
            "examples": list(whole.ids),
            "evaluator": whole.evaluator,
            "evaluator_options": dict(whole.options),
            "higher_is_better": whole.higher_is_better,
            "base": base.mean(),
            "base_stderr": base.stderr(),
            "tuned": tuned.mean(),
            "tuned_stderr": tuned.stderr(),
            "gain": gain.mean,
            "gain_halfwidth": gain.halfwidth,
            "changed": list(changed),
            "adapters": has_adapters(subject.model),
            "interval95": None if scored.stderr is None else interval_halfwidth(dealt.groups),
        },
        warnings=tuple(warnings),
        incomplete=tuple(cut) if ends == "keep" else (),
    )


def _scored(
    values: Float64[np.ndarray, "blocks examples"],
    whole: Float64[np.ndarray, " examples"],
    gains: Float64[np.ndarray, " examples"],
    dealt: Resampling,
    normalised: bool,
) -> Outcome:
    """Means over examples, as they are or as shares of the gain, with their errors."""
    over = np.ones_like(values)
    if normalised:
        values, over = values - whole, over * gains
    scored = ratio_outcome(torch.from_numpy(values), torch.from_numpy(over), len(values), dealt)
    # Of these the scores are plain means.
    return replace(scored, tensors={"per_example": values / over.mean(axis=1, keepdims=True)})


@dataclass(frozen=True)
class _Side:
    """A model before or after its tuning, and how blocks of the other come into it."""

    subject: Subject
    """It, with the other as its reference."""
    said: dict[str, str]
    """What it is changed by, in the description of a sweep."""
    state: Callable[[], AbstractContextManager[None]]
    """The context in which it is that model."""
    put: Callable[[Sequence[int]], AbstractContextManager[None]]
    """The context in which it has some of the other's blocks."""


def _sides(subject: Subject) -> tuple[_Side, _Side]:
    """The model before its tuning and after it."""
    tuned, base = subject.model, subject.reference
    if has_adapters(tuned):
        own, off = replace(subject, reference=None), partial(only_adapters, tuned)
        return (
            _Side(own, {"adapters": "off"}, partial(off, ()), off),
            _Side(own, {}, nullcontext, partial(swapped, tuned, None)),
        )
    if base is None:
        raise OptionError("substitution needs the model that this one was tuned from: name it")
    mirrored = replace(subject, model=base, reference=tuned)
    return (
        _Side(mirrored, {}, nullcontext, partial(swapped, base, tuned)),
        _Side(subject, {}, nullcontext, partial(swapped, tuned, base)),
    )


def _changed(subject: Subject) -> tuple[int, ...]:
    """The blocks that the tuning changed."""
    return changed_blocks(subject.model, None if has_adapters(subject.model) else subject.reference)


def _windows(blocks: int, window: int, direction: str) -> dict[int, range]:
    """The blocks that are put in for each block."""
    if direction not in get_args(Direction):
        hint = did_you_mean(direction, get_args(Direction))
        raise OptionError(f"substitution has no direction {direction!r}: {hint}")
    if window < 1 or window % 2 == 0:
        raise OptionError(f"window must be odd and 1 or more, not {window}")
    if direction == "cumulative":
        if window > 1:
            raise OptionError(f"a cumulative substitution has no window, and {window} was given")
        return {block: range(block + 1) for block in range(blocks)}
    half = window // 2
    return {b: range(max(0, b - half), min(blocks, b + half + 1)) for b in range(blocks)}


def _gains(base: Evaluation, tuned: Evaluation) -> Float64[np.ndarray, " examples"]:
    """How much better the tuned model is on each example."""
    higher, lower = (tuned, base) if tuned.higher_is_better else (base, tuned)
    gains: Float64[np.ndarray, " examples"] = higher.values - lower.values
    return gains


def _gain(subject: Subject, base: Evaluation, tuned: Evaluation) -> Difference:
    """The gain; refused when it is not above the noise of the examples."""
    gain = paired_difference(_gains(base, tuned)[None])
    if gain.mean > gain.halfwidth:
        return gain
    said = f"{tuned.evaluator} {tuned.mean():.4g}, before {base.mean():.4g}"
    if gain.clear:
        raise ProbeError(
            f"{subject.model.name} is worse on these examples than what it was tuned from ({said}):"
            " there is no gain to undo; take examples of what it was tuned for"
        )
    raise ProbeError(
        f"the gain of {subject.model.name} is not above the noise of the examples ({said}; gain "
        f"{gain.mean:.3g} ± {gain.halfwidth:.2g} over {len(tuned)}): give more of them"
    )


SUBSTITUTION = Criterion(
    name="substitution",
    title="Which blocks did a tuning change that matter? Share of its gain that each undoes",
    unit="block",
    needs=frozenset({"evaluator", "reference"}),
    cost="one evaluation of the examples a changed block",
    invariances=frozenset(),
    citation=(
        "Liu et al.: Spectral Insights into Data-Oblivious Critical Layers in LLMs. "
        "Findings of ACL 2025, arXiv:2506.00382"
    ),
    presets={
        "default": {"window": 1, "direction": "undo", "ends": "keep", "normalised": True},
        "paper": {"window": 5, "direction": "undo", "ends": "drop", "normalised": False},
        "three": {"window": 3, "direction": "undo", "ends": "keep", "normalised": True},
        "five": {"window": 5, "direction": "undo", "ends": "keep", "normalised": True},
        "mirror": {"window": 1, "direction": "mirror", "ends": "keep", "normalised": True},
        "cumulative": {"window": 1, "direction": "cumulative", "ends": "keep", "normalised": True},
    },
    score=score_substitution,
    centres=False,
)
"""The criterion ``substitution``."""

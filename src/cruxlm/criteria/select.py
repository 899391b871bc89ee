"""Blocks from scores: a rule, the reason for each block, and how often half-samples agree."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import find_peaks

from cruxlm.results.scores import Scores
from cruxlm.results.selection import Selection
from cruxlm.runtime.errors import OptionError, did_you_mean

Kind = Literal["top", "window", "peaks", "share"]
Values = Float[np.ndarray, " blocks"]
Admitted = Bool[np.ndarray, " blocks"]

RULES = {
    "top": "the K highest scores, top:5",
    "window": "the K neighbouring blocks of the highest sum, window:5",
    "peaks": "local maxima, the K of greatest prominence, peaks:3, or all of them, peaks",
    "share": "the highest scores that together hold at most a share of the weights, share:25%",
}
"""The rules, and how each is written."""

MOST_BY_DEFAULT = 5


@dataclass(frozen=True)
class Rule:
    """A parsed rule."""

    kind: Kind
    """Which rule."""
    count: int | None
    """K, for rules that count blocks; None takes every peak."""
    share: float | None
    """Share of the blocks' weights, 0 to 1."""

    def __str__(self) -> str:
        """The rule as it is written."""
        if self.share is not None:
            return f"{self.kind}:{100 * self.share:g}%"
        return self.kind if self.count is None else f"{self.kind}:{self.count}"


def default_rule(blocks: int) -> str:
    """A quarter of the blocks, at most five."""
    return f"top:{min(MOST_BY_DEFAULT, -(-blocks // 4))}"


def parse_rule(text: str) -> Rule:
    """Read ``top:5``, ``window:5``, ``peaks``, ``peaks:3`` or ``share:25%``; a number is top."""
    if text.isdecimal():
        text = f"top:{text}"
    kind, _, size = text.partition(":")
    if kind not in get_args(Kind):
        raise OptionError(f"there is no selection rule {kind!r}: {did_you_mean(kind, RULES)}")
    if kind == "share":
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%", size)
        share = float(found[1]) / 100 if found else 0.0
        if not 0 < share <= 1:
            raise OptionError(
                f"share needs a percentage up to 100, such as share:25%, not {size!r}"
            )
        return Rule("share", None, share)
    if kind == "peaks" and not size:
        return Rule("peaks", None, None)
    if not size.isdecimal() or int(size) < 1:
        raise OptionError(f"{kind} needs a number of blocks, such as {kind}:5, not {size!r}")
    return Rule(
        "window" if kind == "window" else "peaks" if kind == "peaks" else "top", int(size), None
    )


def select(
    scores: Scores,
    rule: str | None = None,
    *,
    ends: str = "skip",
    parameters: Sequence[int] | None = None,
) -> Selection:
    """Choose blocks by a rule (see ``RULES``); ties go to the lower block.

    ``ends="skip"`` does not admit blocks that were scored with fewer neighbours than the others,
    whose values are of another kind (unless all were); ``"keep"`` admits every block with a value.
    Raises ``OptionError`` when the rule asks for more than there is or finds nothing.
    """
    if ends not in ("skip", "keep"):
        raise OptionError(f"ends must be skip or keep, not {ends!r}")
    parsed = parse_rule(rule or default_rule(len(scores.values)))
    admitted = np.isfinite(scores.values)
    complete = np.setdiff1d(np.flatnonzero(admitted), scores.incomplete)
    if not len(complete):
        ends = "keep"  # in a model of one or two blocks every window is cut
    if ends == "skip":
        admitted[list(scores.incomplete)] = False
    weights = np.ones(len(scores.values)) if parameters is None else np.array(parameters, float)
    _check(parsed, admitted, scores.label, ends)
    chosen = _choose(scores.values, admitted, parsed, weights)
    if not chosen.any():
        raise OptionError(f"{parsed} selects no block of {scores.label}: choose another rule")
    frequency = None
    if scores.halves is not None and len(scores.halves):
        drawn = [
            _choose(half, admitted & np.isfinite(half), parsed, weights) for half in scores.halves
        ]
        frequency = np.mean(drawn, axis=0)
    blocks: list[int] = np.flatnonzero(chosen).tolist()
    lowest = scores.values[chosen].min()
    ties = np.flatnonzero(admitted & ~chosen & (scores.values == lowest))
    return Selection(
        criterion=scores.label,
        blocks=tuple(blocks),
        reasons=tuple(_reason(scores, block, admitted, frequency) for block in blocks),
        rule=str(parsed),
        ends=ends,
        admissible=tuple(np.flatnonzero(admitted).tolist()),
        frequency=None if frequency is None else tuple(frequency.tolist()),
        ties=tuple(ties.tolist()) if parsed.kind in ("top", "share") else (),
        values=tuple(scores.values.tolist()),
    )


def select_again(
    scores: Scores,
    chosen: Selection,
    parameters: Sequence[int] | None = None,
    *,
    ends: str | None = None,
) -> Selection | None:
    """The rule of a selection on other scores or with other ends; None where it selects nothing."""
    try:
        return select(scores, chosen.rule, ends=ends or chosen.ends, parameters=parameters)
    except OptionError:
        return None


def _check(rule: Rule, admitted: Admitted, label: str, ends: str) -> None:
    available = int(admitted.sum())
    if available == 0:
        raise OptionError(f"{label} has no value for any block: there is nothing to select")
    if rule.count is not None and rule.count > available:
        hint = "; --ends keep admits the end blocks too" if ends == "skip" else ""
        raise OptionError(
            f"{rule} asks for more than the {available} blocks that can be selected{hint}"
        )


def _choose(values: Values, admitted: Admitted, rule: Rule, weights: Values) -> Admitted:
    """The chosen blocks as a mask."""
    chosen = np.zeros(len(values), dtype=bool)
    # A stable sort of the negated values puts the lower block first among equals.
    order = np.argsort(np.where(admitted, -values, np.inf), kind="stable")[: admitted.sum()]
    if rule.kind == "top":
        chosen[order[: rule.count]] = True
    elif rule.kind == "share":
        budget = (rule.share or 0) * weights.sum()
        held = np.cumsum(weights[order]) <= budget * (1 + 1e-12)
        chosen[order[np.logical_and.accumulate(held)]] = True
    elif rule.kind == "window":
        width = rule.count or 1
        runs = np.lib.stride_tricks.sliding_window_view(np.where(admitted, values, -np.inf), width)
        start = int(runs.sum(axis=1).argmax())
        chosen[start : start + width] = np.isfinite(runs[start]).all()
    else:
        # A wall on either side makes the first and last admitted block peaks if they stand out.
        walled = np.concatenate([[-np.inf], np.where(admitted, values, -np.inf), [-np.inf]])
        floor = values[admitted].min() - 1.0
        peaks, found = find_peaks(np.maximum(walled, floor), prominence=0)
        best = peaks[np.argsort(-found["prominences"], kind="stable")][: rule.count] - 1
        chosen[best] = True
    return chosen


def _reason(
    scores: Scores, block: int, admitted: Admitted, frequency: Float[np.ndarray, " blocks"] | None
) -> str:
    value = scores.values[block]
    rank = 1 + int((admitted & (scores.values > value)).sum())
    error = "" if scores.stderr is None else f" ± {scores.stderr[block]:.2g}"
    text = f"score {value:.4g}{error}, rank {rank} of {int(admitted.sum())}"
    if frequency is not None:
        text += f", selected by {frequency[block]:.0%} of half-samples"
    if block in scores.incomplete:
        text += ", scored with fewer neighbours"
    return text

"""Ablation: how much worse a model becomes when what a unit contributes is taken away.

Nepal et al., "Layer Importance for Mathematical Reasoning is Forged in Pre-Training and Invariant
after Post-Training", 2025, zero one block's weights after another and grade what is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from cruxlm.criteria.descriptor import Criterion, Outcome
from cruxlm.criteria.per_sample import mean_outcome
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.evaluate.loss import Loss
from cruxlm.models.ablate import Ablation, check_ablation
from cruxlm.numerics.difference import above_chance_p, is_binary, mcnemar, mean_difference_p
from cruxlm.numerics.multiple import holm
from cruxlm.numerics.resampling import deal, interval_halfwidth
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.errors import ModelError, OptionError

LEVEL = 0.05
"""Chance, over all blocks of a model together, of calling one needed that is not."""
CUT_MORE = 0.1
"""Share of answers cut at the limit, above the intact model's, from which a reader is warned."""


def score_ablation(
    subject: Subject, mode: str = "identity", unit: str = "block", screen: int | None = None
) -> Outcome:
    """How much worse each example's value becomes without each block's unit, over the examples.

    Args:
        subject: A model, examples and any evaluator.
        mode: ``identity``, ``zero``, ``mean`` or ``resample`` (`models.ablate.MODES`).
        unit: ``block``, or its ``attention`` or ``feed_forward`` half.
        screen: Evaluate only the so many blocks whose ablation costs the right responses most
            log-probability; the others have no score.

    Raises:
        OptionError: For a mode, unit or screen that makes no sense, or no evaluator.
        ModelError: When the intact model does no better than a guess, or has no such units.
        ProbeError: For examples that the evaluator cannot use.
    """
    sweep = Sweep(subject, {})
    check_ablation(mode, unit)
    if screen is not None:
        _check_screen(subject, screen)
    whole = sweep.whole
    _check_worth(subject, whole)
    sequences = [example.prompt + example.response for example in subject.examples]
    ablation = Ablation(subject.model, mode, unit, sequences=sequences, seed=subject.seed)
    taken = _Taken(ablation, unit, subject.seed)
    blocks = len(ablation.sites)
    chosen: Sequence[int] = range(blocks)
    series: dict[str, Any] = {}
    if screen is not None:
        series["screen"] = _screen(subject, taken)
        # Of equal rises the lower block is taken; a loss that is not finite rose most.
        rises = np.nan_to_num(series["screen"], nan=np.inf)
        chosen = sorted(np.argsort(-rises, kind="stable")[:screen].tolist())
        subject.tick(blocks - len(chosen))
    found: dict[int, Evaluation] = {}
    for block in chosen:
        found[block] = taken.evaluated(sweep, block)
        subject.tick(1)
    return _outcome(subject, whole, found, taken, series, sweep.warnings)


@dataclass(frozen=True)
class _Taken:
    """The ablation of a sweep, and what is said of it there."""

    ablation: Ablation
    unit: str
    seed: int

    def evaluated(self, sweep: Sweep, block: int) -> Evaluation:
        """The evaluation without one block's unit."""
        what = {
            "ablation": self.ablation.mode,
            "unit": self.unit,
            "block": block,
            "seed": self.seed if self.ablation.mode == "resample" else None,
        }
        return sweep.evaluate(partial(self.ablation.without, block), block, what)


def _check_worth(subject: Subject, whole: Evaluation) -> None:
    """Refuse an intact model that has nothing to lose: one that guesses, or answers nothing."""
    name, count = subject.model.name, len(whole)
    if not is_binary(whole.values):
        return
    right = int(whole.values.sum())
    chances = np.zeros(count) if whole.chances is None else whole.chances
    p = above_chance_p(whole.values, chances)
    if p > LEVEL:
        guess = "" if whole.chance is None else f", a guess {whole.chance:.0%} (p = {p:.2g})"
        raise ModelError(
            f"{name} is at chance on {whole.evaluator}: it answers {right} of {count} examples "
            f"({right / count:.0%}{guess}), so ablation can take nothing away: use the evaluator "
            "loss, or examples that it can answer"
        )


def _check_screen(subject: Subject, screen: int) -> None:
    blocks = len(subject.model.blocks.modules)
    if not 1 <= screen < blocks:
        raise OptionError(f"a screen of {screen} of {blocks} blocks: give 1 to {blocks - 1}")
    if subject.evaluator is not None and subject.evaluator.name == Loss.name:
        raise OptionError("a screen by loss saves nothing when the evaluator is the loss")


def _screen(subject: Subject, taken: _Taken) -> Float64[np.ndarray, " blocks"]:
    """The rise of the loss on the right responses without each block."""
    sweep = Sweep(replace(subject, evaluator=Loss()), {})
    before = sweep.whole.mean()
    blocks = range(len(taken.ablation.sites))
    return np.array([taken.evaluated(sweep, block).mean() - before for block in blocks])


def _outcome(
    subject: Subject,
    whole: Evaluation,
    found: dict[int, Evaluation],
    taken: _Taken,
    series: dict[str, Any],
    warnings: Sequence[str],
) -> Outcome:
    blocks, count = len(taken.ablation.sites), len(whole)
    nothing = np.full(count, np.nan)
    values = [found[b].values if b in found else nothing for b in range(blocks)]
    drops = np.stack([whole.values - own for own in values])
    if not whole.higher_is_better:
        drops = -drops
    binary = is_binary(whole.values, *values)
    p = np.array(
        [
            (mcnemar(whole.values, own) if binary else mean_difference_p(drop))
            if np.isfinite(drop).any()
            else np.nan
            for own, drop in zip(values, drops, strict=True)
        ]
    )
    adjusted = holm(p)
    dealt = deal(range(count), seed=subject.seed)
    scored = mean_outcome(torch.from_numpy(drops), blocks, dealt)
    cut = _truncated(found, blocks)
    if cut is not None:
        series = {**series, "truncated": cut}
    clear = [b for b in range(blocks) if adjusted[b] <= LEVEL]
    return replace(
        scored,
        series={"p": p, "p_holm": adjusted, **series},
        tensors={"per_example": drops},
        evidence={
            "examples": list(whole.ids),
            "evaluator": whole.evaluator,
            "evaluator_options": dict(whole.options),
            "higher_is_better": whole.higher_is_better,
            "intact": whole.mean(),
            "intact_stderr": whole.stderr(),
            "intact_truncated": _mean_truncated(whole),
            "chance": whole.chance,
            "units": list(taken.ablation.names),
            "ablated": sorted(found),
            "test": "McNemar, exact" if binary else "paired mean, Student and Hall",
            "family": blocks,
            "level": LEVEL,
            "needed": [b for b in clear if scored.values[b] > 0],
            "better_without": [b for b in clear if scored.values[b] < 0],
            "interval95": None if scored.stderr is None else interval_halfwidth(dealt.groups),
        },
        warnings=(*warnings, *_said(scored, whole, found)),
    )


def _said(scored: Outcome, whole: Evaluation, found: dict[int, Evaluation]) -> list[str]:
    """What a reader must know besides what the sweep says."""
    said = []
    if scored.stderr is None:
        said.append("too few examples to leave any out: no standard errors")
    if len(found) < len(scored.values):
        said.append(f"the screen left {len(scored.values) - len(found)} blocks without a score")
    rates = {block: _mean_truncated(own) for block, own in found.items()}
    usual = _mean_truncated(whole) or 0.0
    more = [b for b, rate in rates.items() if rate is not None and rate > usual + CUT_MORE]
    if more:
        said.append(
            f"without block {', '.join(map(str, more))} more answers are cut at the limit "
            f"(up to {max(rates[b] or 0.0 for b in more):.0%}, {usual:.0%} of the intact model's)"
        )
    return said


def _truncated(found: dict[int, Evaluation], blocks: int) -> Float64[np.ndarray, " blocks"] | None:
    """The share of answers that were cut at the limit without each block; None for no answers."""
    rates = {block: _mean_truncated(own) for block, own in found.items()}
    if all(rate is None for rate in rates.values()):
        return None
    return np.array([np.nan if (rate := rates.get(b)) is None else rate for b in range(blocks)])


def _mean_truncated(evaluation: Evaluation) -> float | None:
    series = evaluation.series.get("truncated")
    return None if series is None else float(series.mean())


ABLATION = Criterion(
    name="ablation",
    title="Which blocks does the model need here? What its examples lose without each",
    unit="block",
    needs=frozenset({"evaluator"}),
    cost="one evaluation of the examples a block, from that block on",
    invariances=frozenset(),
    citation=(
        "Nepal et al.: Layer Importance for Mathematical Reasoning is Forged in Pre-Training and "
        "Invariant after Post-Training. 2025, arXiv:2506.22638"
    ),
    presets={
        "default": {"mode": "identity", "unit": "block", "screen": None},
        "paper": {"mode": "zero", "unit": "block", "screen": None},
        "mean": {"mode": "mean", "unit": "block", "screen": None},
        "resample": {"mode": "resample", "unit": "block", "screen": None},
        "attention": {"mode": "identity", "unit": "attention", "screen": None},
        "feed_forward": {"mode": "identity", "unit": "feed_forward", "screen": None},
        "screened": {"mode": "identity", "unit": "block", "screen": 8},
    },
    score=score_ablation,
    centres=False,
)
"""The criterion ``ablation``."""

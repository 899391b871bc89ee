"""Which block carries an attack: what is left of its success with each block as it was before."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from cruxlm.criteria.registry import CRITERIA
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.models.load import LoadedModel
from cruxlm.models.swap import swapped
from cruxlm.numerics.multiple import holm
from cruxlm.numerics.ranks import spearman
from cruxlm.results.attacked import Carrier, Undone
from cruxlm.results.scores import Scores
from cruxlm.runtime.cache import Cache
from cruxlm.workflows.attack_rates import (
    AttackExamples,
    change_between,
    success_evaluator,
)
from cruxlm.workflows.scoring import subject_scores

WINDOWS = (1, 3)
"""How many neighbouring blocks are undone together."""
LEAST = 0.5
"""Success of an attack from which it is asked what carries it: of one that fails nothing does."""


def carried(
    model: LoadedModel,
    base: LoadedModel,
    examples: AttackExamples,
    *,
    cache: Cache | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> Carrier:
    """What carries an attack, by undoing the tuning block by block.

    Args:
        model: The model that the attack succeeds on.
        base: The model before its tuning; the attack fails on it.
        examples: What the attack is measured on.
        cache: Keeps evaluations, so that what was stopped goes on.
        seed: Seed of the bootstrap.
        show_progress: Whether to show a bar on a terminal.

    Raises:
        ProbeError: When the success is not above the base's and the noise of the examples.
        ModelError: When the models are not of one architecture.
    """
    kept = cache if examples.judge.versioned else None
    subject = Subject(
        model, examples.triggered, success_evaluator(examples), base, seed=seed, cache=kept
    )
    blocks = len(model.blocks.modules)
    windows, found = {}, {}
    for window in (width for width in WINDOWS if width <= blocks):
        options = {"window": window, "normalised": False}
        name = f"{window} blocks undone" if window > 1 else "each block undone"
        scores = _scores(subject, name, "substitution", options, show_progress)
        found[window] = scores
        windows[str(window)] = _undone(scores, window, seed)
    evidence = found[1].evidence
    drift = _scores(subject, "weight change", "weight_change", {}, False).values
    taken = np.array([-undone.change.mean for undone in windows["1"]])
    return Carrier(
        evaluator=evidence["evaluator"],
        intact=evidence["tuned"],
        base=evidence["base"],
        windows=windows,
        embeddings=_embeddings(subject, seed),
        weight_change=tuple(float(v) if np.isfinite(v) else None for v in drift),
        rho=spearman(taken, drift),
    )


def _scores(
    subject: Subject, label: str, name: str, options: dict[str, Any], show_progress: bool
) -> Scores:
    criterion = CRITERIA.get(name)
    request = (label, criterion, "default", criterion.options("default", options))
    return subject_scores(subject, [request], show_progress=show_progress)[label]


def _undone(scores: Scores, window: int, seed: int) -> tuple[Undone, ...]:
    """What is left with the blocks around each one undone."""
    whole = scores.tensors["tuned"]
    # Of success more is better, so its scores are its negatives.
    values = -scores.tensors["per_example"]
    changes = [change_between(whole, own, seed=seed) for own in values]
    adjusted = holm(np.array([change.p for change in changes]))
    half = window // 2
    around = [
        tuple(range(max(0, block - half), min(len(values), block + half + 1)))
        for block in range(len(values))
    ]
    return tuple(
        Undone(_named(near), near, float(own.mean()), change, float(p))
        for near, own, change, p in zip(around, values, changes, adjusted, strict=True)
    )


def _named(blocks: Sequence[int]) -> str:
    return f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {blocks[0]} to {blocks[-1]}"


def _embeddings(subject: Subject, seed: int) -> Undone:
    sweep = Sweep(subject, {})
    put = partial(swapped, subject.model, subject.reference, [], ("embeddings",))
    found = sweep.evaluate(put, 0, {"put in": "embeddings"})
    change = change_between(sweep.whole.values, found.values, seed=seed)
    return Undone("embeddings", (), found.mean(), change, change.p)

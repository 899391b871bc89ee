"""Verifications made of invented numbers; no model."""

from dataclasses import replace

import numpy as np

from cruxlm.results.verification import Verification, VerifiedPair
from cruxlm.workflows.predictions import finding, measured_depth, predicted
from results.made_scans import made_scores


def made_verification(blocks=24, pairs=2, text=""):
    """``text`` stands in every name and message that could come from a user's files."""
    found = tuple(_pair(number, blocks, text) for number in range(pairs))
    predictions = predicted(found, f"{text}dynamics", "window 3", seed=0)
    return Verification(
        pairs=found,
        predictions=predictions,
        depth=measured_depth(found),
        primary=(predictions[0].predictor, predictions[0].target),
        data={"name": f"{text}rows", "sha256": "abc", "rows": "all rows", "examples": 30,
              "too_long": 0, "evaluator": "loss"},
        finding=text + finding(predictions, found),
        warnings=(f"{text}a warning",),
        provenance={"versions": {"python": "3"}, "models": {f"{text}base": "abc"}, "seed": 0,
                    "control": None},
        run={"date": "2025-01-01", "seconds": 1.5},
    )  # fmt: skip


def _pair(number, blocks, text):
    draw = np.random.default_rng(number)
    scan = made_scores("dynamics", "dynamics", "builtin", blocks, seed=number, text=text)
    measured = {}
    for window in (1, 3):
        values = 0.5 * scan.values + draw.normal(0, 0.05, blocks)
        each = values[:, None] + draw.normal(0, 0.1, (blocks, 30))
        label = f"window {window}"
        held = made_scores(label, "substitution", None, blocks, values=each.mean(axis=1))
        measured[label] = replace(held, tensors={"per_example": each})
    return VerifiedPair(
        base=f"{text}base-{number}", tuned=f"{text}tuned-{number}", run=f"run {number}",
        predictors={f"{text}dynamics": replace(scan, label=f"{text}dynamics")}, measured=measured,
        before=3.0, after=1.0, gain=2.0, halfwidth=0.1,
    )  # fmt: skip

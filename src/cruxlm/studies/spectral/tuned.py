"""Cells that fine-tune models and undo it block by block: was that predicted?"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cruxlm.data.probes import Probe
from cruxlm.results.scores import Scores
from cruxlm.results.verification import Verification
from cruxlm.studies.spectral.world import LIGHT, named, named_probes, probes_of, real, short
from cruxlm.studies.study import code_hash
from cruxlm.testbed.home import PREFIX
from cruxlm.workflows.tune import tune
from cruxlm.workflows.verify import verify

CRITERIA = (
    "dynamics", "dynamics:paper", "block_influence", "angular_distance", "weight_change",
    "gradient_norm", "clusters", "depth", "depth:ends", "random",
)  # fmt: skip
"""What is to predict; the first is in question."""
ANALYSIS = "cruxlm.studies.spectral.prediction_rule"
"""The module that decides what predictions are worth."""


def prediction(
    *,
    models: Sequence[str],
    family: str,
    steps: int,
    prompts: int,
    n: int,
    aside: bool = False,
) -> dict[str, Any]:
    """Tune models of the testbed lightly on a family, and see what predicts what that changed.

    A family that was kept aside keeps the hash of the analysis as it was when the cell was made.
    """
    task = f"{PREFIX}{family}"
    with TemporaryDirectory() as folder:
        names = [f"{PREFIX}{model}" for model in models]
        pairs = _tuned(names, task, Path(folder), steps=steps)
        found = verify(
            pairs,
            data=task,
            criteria=CRITERIA,
            probe=probes_of(task),
            prompts=prompts,
            n=n,
            control="untrained",
        )
    analysis = {"analysis": code_hash(ANALYSIS)} if aside else {}
    return {"family": family, "models": list(models), **said(found), **analysis}


def real_prediction(*, model: str, data: str, steps: int, prompts: int, n: int) -> dict[str, Any]:
    """The same of a real model on real data, of which a tenth is kept for the test."""
    rows = str(real("CRUX_REAL_DATA", f"{data}.jsonl"))
    name = str(real("CRUX_REAL_MODELS", model))
    own: list[Probe] = [named("own", rows), *named_probes("builtin", "random-tokens")]
    with TemporaryDirectory() as folder:
        pairs = _tuned([name], rows, Path(folder), steps=steps, max_tokens=TOKENS)
        found = verify(
            pairs,
            data=rows,
            criteria=CRITERIA,
            window=1,
            probe=own,
            prompts=prompts,
            n=n,
            control="untrained",
        )
    return {"data": data, "models": [model], **said(found)}


TOKENS = 128
"""Longest row of real data that is trained on; longer ones are cut."""


def _tuned(
    models: Sequence[str], data: str, folder: Path, **changes: Any
) -> list[tuple[str, Path]]:
    """Each model and its fine-tuned self, each with a seed of its own."""
    pairs = []
    for seed, model in enumerate(models):
        out = folder / str(seed)
        tune(model, data=data, out=out, **{**LIGHT, "seed": seed, **changes})
        pairs.append((model, out))
    return pairs


def said(found: Verification) -> dict[str, Any]:
    """A verification as a cell keeps it: every curve, and what is said of each two."""
    return {
        "pairs": [
            {
                "run": pair.run,
                "before": pair.before,
                "after": pair.after,
                "predictors": {label: _comparable(s) for label, s in pair.predictors.items()},
                "measured": {label: _comparable(s) for label, s in pair.measured.items()},
            }
            for pair in found.pairs
        ],
        "predictions": [
            {name: getattr(one, name) for name in
             ("predictor", "target", "rho", "low", "high", "partial", "p", "p_shared", "verdict")}
            for one in found.predictions
        ],
        "finding": found.finding,
    }  # fmt: skip


def _comparable(scores: Scores) -> list[float | None]:
    """A curve over the blocks that were scored like the others."""
    values = scores.values.astype(float)
    values[list(scores.incomplete)] = np.nan
    return short(values)

"""Scans made of invented numbers: any number of blocks, any names, gaps where wanted; no model."""

import numpy as np

from cruxlm.criteria.finding import finding
from cruxlm.criteria.select import default_rule, select
from cruxlm.results.export import Export, Exports
from cruxlm.results.scan import Scan
from cruxlm.results.scores import Scores
from cruxlm.workflows.scan import _agreement


def made_scores(label, criterion, probe, blocks, *, seed=0, values=None, preset="default", text=""):
    draw = np.random.default_rng(seed)
    values = draw.uniform(0.1, 0.5, blocks) if values is None else np.asarray(values, dtype=float)
    dynamics = criterion == "dynamics"
    evidence = {
        "incomplete": sorted({0, blocks - 1}) if dynamics and blocks > 2 else [],
        "jackknife_groups": 20,
        "interval95": 2.09,
        "half_samples": 5,
        "samples": 40,
    }
    series, tensors = {}, {}
    if dynamics:
        shares = draw.uniform(0, 1, (3, blocks))
        evidence |= {
            "width": 64,
            "top_dims": [1, 5, 10],
            "gram_share_top_dims": shares.tolist(),
            "score_without_top_dims": [values.tolist(), [None] * blocks, None],
        }
        series = {"delta": 1 - values}
        cka = draw.uniform(0, 1, (blocks, blocks))
        cka[np.isnan(values)] = np.nan
        tensors = {"cka": cka}
    return Scores(
        label=label,
        criterion=criterion,
        preset=preset,
        probe=probe,
        unit="block",
        names=tuple(f"{text}model.layers.{block}" for block in range(blocks)),
        values=values,
        stderr=np.where(np.isnan(values), np.nan, 0.02),
        halves=values + draw.normal(0, 0.05, (5, blocks)),
        series=series,
        tensors=tensors,
        options={"window": 3} if dynamics else {},
        evidence=evidence,
        warnings=(f"{text}a warning",),
    )


def made_scan(blocks=12, *, probes=("builtin",), values=None, control=True, text=""):
    """``text`` stands in every name, group and message that could come from a user's files."""
    criteria = [("dynamics", "default"), ("dynamics", "paper"), ("block_influence", "default")]
    scores = {}
    for number, probe in enumerate(probes):
        for place, (criterion, preset) in enumerate(criteria):
            label = criterion if preset == "default" else f"{criterion}:{preset}"
            label += "" if number == 0 else f"@{probe}"
            scores[label] = made_scores(
                label, criterion, probe, blocks,
                seed=10 * number + place, values=values, preset=preset, text=text,
            )  # fmt: skip
    chosen = [
        select(scores["dynamics"], default_rule(blocks), ends=ends, parameters=[100] * blocks)
        for ends in (("skip", "keep") if blocks > 2 else ("keep", "keep"))
    ]
    controls = {}
    if control:
        held = {
            label: made_scores(label, s.criterion, s.probe, blocks, seed=99, preset=s.preset)
            for label, s in scores.items()
        }
        controls = {"untrained": held}
    agreement = _agreement(scores, controls, chosen[0], [100] * blocks)
    probe_record = {
        "n": 40,
        "samples": 40,
        "ids_sha256": "0" * 64,
        "pooling": "last",
        "template": "chat",
        "left_out": {"empty": 2, "too_long": 1},
        "padding_error": None,
        "groups": {
            "names": [f"{text}a", f"{text}b"],
            "sizes": [20, 20],
            "variance_between": [0.2] * blocks,
            "removed": False,
        },
    }
    return Scan(
        model=f"{text}model",
        blocks=scores["dynamics"].names,
        parameters=(100,) * blocks,
        probes={probe: dict(probe_record) for probe in probes},
        scores=scores,
        selection=chosen[0],
        selections=tuple(chosen),
        agreement=agreement,
        finding=text + finding(scores["dynamics"], chosen[0], agreement),
        provenance={
            "versions": {"python": "3", f"{text}torch": "2"},
            "model": {"revision": f"{text}main"},
            "architecture": f"{text}Llama",
            "seed": 0,
        },
        run={"date": "2025-01-01", "seconds": 1.5, "threads": 1},
        controls=controls,
        exports=(
            Exports(
                "lora",
                (Export(f"{text}peft", "lora", "lora.py", f"{text}1\n2", f"{text}use", (text,)),),
                {f"{text}tool": f"{text}cannot"},
            ),
        ),
    )

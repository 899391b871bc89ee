"""Cells that scan a model on many probes, and take its blocks away: what does it turn on?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from cruxlm.data.probes import Probe
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.results.scan import Scan
from cruxlm.studies.spectral.world import MIXED, named, named_probes, short
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.home import PREFIX, resolve
from cruxlm.testbed.recipe import load_recipe
from cruxlm.workflows.scan import scan

FAMILIES = ("recall", "deduction", "sum_steps", "lists", "sentiment", "story")
"""Families that are probes of their own."""
FREE = ("random-tokens", "shuffled-tokens")
"""Probes without a text."""
FRAMELESS = ("random-tokens", "lists", "mixed")
"""Probes that are also read without the chat's frame."""
SELECTED = "top:5"
"""What is selected on every probe."""


def profile(*, model: str, prompts: int, n: int) -> dict[str, Any]:
    """Dynamics of a model on every probe, and what taking a block away costs it."""
    loaded = _loaded(model)
    read = probes()
    plain = _scanned(loaded, read, prompts)
    raw = _scanned(loaded, [p for p in read if p.name in FRAMELESS], prompts, template="raw")
    mixed = [p for p in read if p.name == "mixed"]
    within = _scanned(loaded, mixed, prompts, within_groups=True)
    ablated = scan(loaded, criteria="ablation", data=MIXED, examples=n)
    found = {probe.name: _of(plain, probe.name) for probe in read}
    found |= {f"{name}, no frame": _of(raw, name) for name in FRAMELESS}
    found["mixed, within groups"] = _of(within, "mixed")
    return {
        "model": model,
        "probes": found,
        "between_groups": (plain.probes["mixed"]["groups"] or {})["variance_between"],
        "ablation": short(ablated.primary.values),
    }


def probes() -> list[Probe]:
    """Families apart and together, a text of another language, and none."""
    families = [named(family, f"{PREFIX}{family}") for family in FAMILIES]
    return [*families, named("mixed", MIXED), *named_probes("builtin", *FREE)]


def _loaded(model: str) -> LoadedModel:
    """A model of the testbed; the first weights of a base are drawn by its recipe."""
    if not model.startswith("untrained-"):
        return load_model(resolve(f"{PREFIX}{model}"))
    tokenizer = load_model(resolve(None)).tokenizer  # all of them have one
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return load_model(new_model(load_recipe(model), tokenizer), tokenizer=tokenizer)


def _scanned(model: LoadedModel, read: Sequence[Probe], prompts: int, **options: Any) -> Scan:
    criteria = ("dynamics", "dynamics:paper")
    return scan(model, criteria=criteria, probe=read, n=prompts, select_by=SELECTED, **options)


def _of(found: Scan, probe: str) -> dict[str, Any]:
    """The curves of one probe, over blocks with all their neighbours, and what they select."""
    held = {s.criterion + ":" + s.preset: s for s in found.scores.values() if s.probe == probe}
    curves = {}
    for preset in ("default", "paper"):
        scores = held[f"dynamics:{preset}"]
        values = scores.values.astype(float)
        values[list(scores.incomplete)] = np.nan
        curves[preset] = short(values)
    (row,) = (r for r in found.agreement["probes"] if r["probe"] == probe)
    return {**curves, "selected": row["selected"]}

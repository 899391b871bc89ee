"""Cells about principal components: where a shift lies, and what is lost without them."""

from collections.abc import Sequence
from typing import Any

from cruxlm.models.load import LoadedModel, load_model
from cruxlm.plans.controls import controls
from cruxlm.studies.spectral.world import MIXED, named, named_probes, short
from cruxlm.testbed.home import PREFIX, resolve
from cruxlm.workflows.intervene import intervene
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.scan import scan
from cruxlm.workflows.spectra import spectra

CRITICAL, FEW = "dynamics:5", "dynamics:3"
"""The blocks that are in question: all of a selection, and those that are intervened in."""
METRICS = ("accuracy", "conclusion_first", "rationale_words", "loss_rationale", "loss_conclusion",
           "loss_unrelated")  # fmt: skip


def decomposed(*, model: str, probe: str, prompts: int, k: int) -> dict[str, Any]:
    """The shift of every block without its leading components, and their angles to neighbours'."""
    loaded = load_model(resolve(f"{PREFIX}{model}"))
    read = named("mixed", MIXED) if probe == "mixed" else named_probes(probe)[0]
    found = spectra(loaded, probe=read, n=prompts, k=k, blocks="0")
    scanned = scan(loaded, criteria="dynamics", probe=read, n=prompts)
    fields = ("shift", "shift_stderr", "shares", "shares_stderr", "neighbours", "random")
    return {
        "model": model,
        "probe": probe,
        "dynamics": short(scanned.primary.values),
        "selected": list(Planner(loaded).choose(CRITICAL).blocks),
        "blocks": [{name: getattr(one, name) for name in fields} for one in found.spectra],
    }


def removed(
    *, model: str, family: str, components: Sequence[int], n: int, seed: int = 0
) -> dict[str, Any]:
    """What is lost without leading components of critical blocks, and of others as deep."""
    loaded = load_model(resolve(f"{PREFIX}{model}"))
    groups = _blocks(loaded, seed)
    found = intervene(
        loaded,
        data=f"{PREFIX}{family}",
        blocks=",".join(str(b) for blocks in groups.values() for b in blocks),
        components_of=components,
        examples=n,
        seed=seed,
    )
    return {
        "model": model,
        "family": family,
        "groups": {name: list(blocks) for name, blocks in groups.items()},
        "intact": {name: found.intact[name] for name in METRICS},
        "found": [
            {
                "block": one.block,
                "components": one.components,
                "effects": {
                    name: {**vars(one.effects[name]), "clear": one.effects[name].clear}
                    for name in METRICS
                },
            }
            for one in found.found
        ],
    }


def _blocks(model: LoadedModel, seed: int) -> dict[str, tuple[int, ...]]:
    """The most dynamic blocks, and as many others at the depths nearest to theirs."""
    planner = Planner(model)
    plan = planner.plan(FEW, method="full")
    chosen = planner.choose(FEW)
    others = controls(
        plan,
        [block for block in chosen.admissible if block not in chosen.blocks],
        parameters=planner.ref.parameters,
        seed=seed,
    )
    return {"critical": chosen.blocks, "others": others.plans["depth-matched"].blocks}

"""Spectral insights: the claims of the paper that Crux begins with, tested with controls.

Liu, Hsiung, Yang, Yan, "Spectral Insights into Data-Oblivious Critical Layers in LLMs" (Findings of
ACL 2025, arXiv:2506.00382).
"""

from collections.abc import Iterator

from cruxlm.studies.spectral.adapted import adaptation
from cruxlm.studies.spectral.claim import STUDY
from cruxlm.studies.spectral.components import decomposed, removed
from cruxlm.studies.spectral.defended import defence
from cruxlm.studies.spectral.page import spectral_page
from cruxlm.studies.spectral.profiles import profile
from cruxlm.studies.spectral.tuned import prediction, real_prediction
from cruxlm.studies.spectral.world import (
    AFTER,
    ASIDE,
    BASES,
    CHECKPOINTS,
    INSTRUCTS,
    LIGHT,
    OPEN,
    TURNS,
    UNTRAINED,
)
from cruxlm.studies.study import Cell, Study

SIZES = {"prompts": 300, "n": 150}
"""Prompts of a probe, as published, and test rows."""
PAIR = 80.0
"""Seconds that one model costs: to be tuned, scanned, and undone block by block."""
REAL = {
    "stories3M": ("dolly_3k", "alpaca_9k", "gsm8k_train", "openbookqa_train"),
}
"""Real models and the data that they are tuned on."""
REAL_STEPS = 200
ADAPTED = ("new_facts", "swap_ends", "stars")
"""Families of the adaptation."""
LEARNING_RATES = (3e-4, 1e-3, 3e-3)
"""Of which each arm has its own best."""
REASONED = ("two_hop", "sum_steps")
"""Families with a rationale, on which components are taken away."""


def _cells() -> Iterator[Cell]:
    """Families that are aside come last: nothing is tuned on them before the rest has been seen."""
    yield from _predictions(OPEN, "open")
    for family in OPEN:
        models = [name for turn in TURNS for name in (turn, turn.replace("planted", "twin"))]
        options = {"models": models, "family": family, "steps": LIGHT["steps"], **SIZES}
        yield Cell(f"planted-{_plain(family)}", options, PAIR * len(models), prediction)
    for model, files in REAL.items():
        for data in files:
            options = {"model": model, "data": data, "steps": REAL_STEPS, **SIZES}
            yield Cell(f"real-{model.lower()}-{_plain(data)}", options, 300.0, real_prediction)
    for model in (*BASES, *INSTRUCTS, *AFTER[1:], *UNTRAINED, *CHECKPOINTS):
        options = {"model": model, "prompts": 300, "n": 260}
        yield Cell(f"profile-{model.replace('/step-', '.')}", options, 90.0, profile)
    for place, family in enumerate(ADAPTED):
        for base in range(len(BASES)):
            options = {
                "family": family, "base": base, "steps": 60, "batch": 16,
                "learning_rates": list(LEARNING_RATES), "draw": base + len(BASES) * place,
            }  # fmt: skip
            yield Cell(f"adapt-{_plain(family)}-{base}", options, 600.0, adaptation)
    for model in (*BASES[:3], *INSTRUCTS):
        for probe in ("mixed", "builtin"):
            options = {"model": model, "probe": probe, "prompts": 300, "k": 10}
            yield Cell(f"spectrum-{model}-{probe}", options, 20.0, decomposed)
    for model in INSTRUCTS:
        for family in REASONED:
            options = {"model": model, "family": family, "components": [1, 3, 10], "n": 60}
            yield Cell(f"removed-{model}-{_plain(family)}", options, 400.0, removed)
    yield Cell("defence", {"study": "studies/backdoor"}, 1.0, defence)
    yield from _predictions(ASIDE, "aside")


def _predictions(families: tuple[str, ...], which: str) -> Iterator[Cell]:
    for kind, models in (("base", BASES), ("instruct", INSTRUCTS)):
        for family in families:
            options = {
                "models": list(models), "family": family, "steps": LIGHT["steps"], **SIZES,
                **({"aside": True} if which == "aside" else {}),
            }  # fmt: skip
            name = f"predict-{kind}-{which}-{_plain(family)}"
            yield Cell(name, options, PAIR * len(models), prediction)


def _plain(name: str) -> str:
    return name.replace("_", "-")


SPECTRAL = Study(
    name=STUDY,
    title="Which claims about data-oblivious critical layers hold, and beyond what?",
    cells=tuple(_cells()),
    page=spectral_page,
    code=(
        "cruxlm.studies.spectral.world",
        "cruxlm.criteria.dynamics",
        "cruxlm.criteria.substitution",
        "cruxlm.workflows.tune",
    ),
    tolerance=1e-6,
)
"""The study ``spectral_insights``."""

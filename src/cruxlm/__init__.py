"""Crux: which blocks of a language model its behaviour turns on, and how far that can be believed.

``import cruxlm as crux`` is light: torch and transformers are loaded by the first call that needs
them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cruxlm.models.load import load_model as load_model
    from cruxlm.results.kinds import load_result as load_result
    from cruxlm.results.plan import Plan as Plan
    from cruxlm.results.scan import Scan as Scan
    from cruxlm.results.scores import Scores as Scores
    from cruxlm.results.selection import Selection as Selection
    from cruxlm.results.verification import Verification as Verification
    from cruxlm.runtime.errors import CruxError as CruxError
    from cruxlm.workflows.attack import attack as attack
    from cruxlm.workflows.compare import compare as compare
    from cruxlm.workflows.defend import defend as defend
    from cruxlm.workflows.drop import drop as drop
    from cruxlm.workflows.intervene import intervene as intervene
    from cruxlm.workflows.poison import poison as poison
    from cruxlm.workflows.publish import push_to_hub as push_to_hub
    from cruxlm.workflows.repair import repair as repair
    from cruxlm.workflows.scan import scan as scan
    from cruxlm.workflows.screen import screen as screen
    from cruxlm.workflows.spectra import spectra as spectra
    from cruxlm.workflows.suppress import suppress as suppress
    from cruxlm.workflows.tune import tune as tune
    from cruxlm.workflows.verify import verify as verify

_PUBLIC = {
    "CruxError": "cruxlm.runtime.errors",
    "Plan": "cruxlm.results.plan",
    "Scan": "cruxlm.results.scan",
    "Scores": "cruxlm.results.scores",
    "Selection": "cruxlm.results.selection",
    "Verification": "cruxlm.results.verification",
    "attack": "cruxlm.workflows.attack",
    "compare": "cruxlm.workflows.compare",
    "defend": "cruxlm.workflows.defend",
    "drop": "cruxlm.workflows.drop",
    "intervene": "cruxlm.workflows.intervene",
    "load_model": "cruxlm.models.load",
    "load_result": "cruxlm.results.kinds",
    "poison": "cruxlm.workflows.poison",
    "push_to_hub": "cruxlm.workflows.publish",
    "repair": "cruxlm.workflows.repair",
    "scan": "cruxlm.workflows.scan",
    "screen": "cruxlm.workflows.screen",
    "spectra": "cruxlm.workflows.spectra",
    "suppress": "cruxlm.workflows.suppress",
    "tune": "cruxlm.workflows.tune",
    "verify": "cruxlm.workflows.verify",
}

__all__ = [
    "CruxError", "Plan", "Scan", "Scores", "Selection", "Verification", "attack", "compare",
    "defend", "drop", "intervene", "load_model", "load_result", "poison", "push_to_hub",
    "repair", "scan", "screen", "spectra", "suppress", "tune", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from cruxlm.runtime.environment import package_versions

        return package_versions()["cruxlm"]
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'cruxlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""What a tool that plans are exported to is, and what its writer is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cruxlm.models.load import LoadedModel
from cruxlm.models.parts import Parts
from cruxlm.results.export import Export
from cruxlm.results.plan import Plan


@dataclass(frozen=True)
class Planned:
    """A plan on its model: exact names of all that is trained."""

    plan: Plan
    """The plan."""
    model: LoadedModel
    """Its model; the weights may be absent (on the device ``meta``)."""
    parts: Parts
    """Which part of the model each parameter belongs to."""
    trained: frozenset[str]
    """Names of the model's own parameters that are trained; for lora, those of ``plan.parts``."""
    maps: Mapping[int, tuple[str, ...]]
    """Full names of the linear maps that get adapters, by block; empty unless lora."""
    left_out: str = ""
    """What of the planned blocks no adapter can be put on, in words."""


@dataclass(frozen=True)
class Target:
    """A tool, and what of a plan it can be told."""

    name: str
    """Its name here, such as ``axolotl``."""
    title: str
    """What it is, in a few words."""
    write: Callable[[Planned], Export]
    """Writes the file; raises ``OptionError`` with the reason where this plan cannot be said."""
    refusals: Mapping[str, str]
    """For each action that it cannot be told: why, and the nearest thing that it can do."""
    package: str | None = None
    """Its package on the index; None for what is no package."""

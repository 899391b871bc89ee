"""What a criterion is: a function from states to one value a block, and what is declared of it.

Tests and documentation are made from the declaration: an invariance that is declared is tested.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from cruxlm.numerics.resampling import Resampling
from cruxlm.runtime.errors import OptionError, did_you_mean

Need = Literal["weights", "states", "evaluator", "gradients", "reference", "training"]
Invariance = Literal["sample_order", "scale", "layer_scale", "rotation", "layer_rotation", "shift"]
"""What may be done to the states without changing a score: another order of the samples; one scale
for all layers or one for each; one orthogonal map of the features for all layers or one for each; a
constant added to every sample of a layer."""


@dataclass(frozen=True)
class Measured:
    """What a criterion of states is given."""

    states: Float[Tensor, "layers samples width"]
    """Layer 0 enters block 0, layer l + 1 leaves block l: one layer more than there are blocks."""
    resampling: Resampling
    """The groups that errors and stability come from."""
    strata: Int[Tensor, " samples"] | None = None
    """Group of each sample when group means are to be removed."""
    labels: Mapping[str, Int[Tensor, " samples"]] = field(default_factory=dict)
    """What else is known of each sample: ``token``, the token it is the state of, its ``group``,
    and which ``part`` of a chat's template or content it is of."""
    prompt: Int[Tensor, " samples"] | None = None
    """The prompt of the probe that each sample was read from."""


@dataclass(frozen=True)
class Outcome:
    """What a criterion found, one value a block; higher is more critical, NaN where undefined."""

    values: Float[np.ndarray, " blocks"]
    """The scores."""
    stderr: Float[np.ndarray, " blocks"] | None
    """Their standard errors; None when there are too few samples to leave any out."""
    halves: Float[np.ndarray, "halves blocks"] | None
    """The scores on half-samples."""
    series: Mapping[str, Float[np.ndarray, " blocks"]] = field(default_factory=dict)
    """Other curves over blocks that belong to the result."""
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Larger arrays that belong to the result."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Plain data that a reader needs to doubt the scores."""
    warnings: tuple[str, ...] = ()
    """What a reader must know before relying on the scores."""
    incomplete: tuple[int, ...] = ()
    """Blocks near an end that were scored with fewer neighbours than the others."""


@dataclass(frozen=True)
class Criterion:
    """A criterion's descriptor."""

    name: str
    """The name it is asked for by."""
    title: str
    """What it answers, in one line."""
    unit: str
    """The unit that it scores."""
    needs: frozenset[Need]
    """What it must be given."""
    cost: str
    """What it costs, in passes over the probe."""
    invariances: frozenset[Invariance]
    """What does not change it."""
    citation: str
    """Where it comes from."""
    presets: Mapping[str, Mapping[str, Any]]
    """Options by preset; ``default`` first."""
    score: Callable[..., Outcome]
    """``score(measured, **options)``."""
    centres: bool
    """Whether it works on centred states, so that removing group means changes it."""

    def options(self, preset: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options of a preset with ``changes``; unknown names are refused with a hint."""
        if preset not in self.presets:
            hint = did_you_mean(preset, self.presets)
            raise OptionError(f"{self.name} has no preset {preset!r}: {hint}")
        options = dict(self.presets[preset])
        for name, value in (changes or {}).items():
            if name not in options:
                raise OptionError(
                    f"{self.name} has no option {name!r}: {did_you_mean(name, options)}"
                )
            options[name] = value
        return options

    def page(self) -> str:
        """The criterion's page: what it answers, formula, cost, when it misleads (Markdown)."""
        package = self.score.__module__.rpartition(".")[0]
        return files(package).joinpath(f"{self.name}.md").read_text("utf-8")

"""What criteria are given that read more than states: a model, examples, another model."""

from collections.abc import Sequence
from dataclasses import dataclass

from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.protocol import Evaluator
from cruxlm.models.load import LoadedModel
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.progress import Tick


@dataclass(frozen=True)
class Subject:
    """A model, and what is known of what it is for."""

    model: LoadedModel
    """The model whose blocks are scored; it is left as it was."""
    examples: Sequence[Example] = ()
    """What it is evaluated on, for criteria that need an evaluator or gradients."""
    evaluator: Evaluator | None = None
    """Gives each example a value."""
    reference: LoadedModel | None = None
    """The model that it was made from, for criteria that need one."""
    seed: int = 0
    """Seed of everything that is drawn."""
    cache: Cache | None = None
    """Keeps what was evaluated, so that a sweep which was stopped goes on; None for none."""
    tick: Tick = lambda _done: None
    """Called with the number of blocks done."""

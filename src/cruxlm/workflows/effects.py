"""What an intervention changes: paired by example, beside what its controls change."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cruxlm.numerics.paired import paired_difference
from cruxlm.results.interventions import METRICS, Effect, Intervened
from cruxlm.results.plan import listed
from cruxlm.workflows.measured_text import Values


def finding(found: Sequence[Intervened], intact: Values) -> str:
    """What changes beyond what as much along other directions does."""
    said = []
    for metric in intact:
        clear = [one for one in found if metric in one.effects and one.effects[metric].clear]
        if clear:
            largest = max(clear, key=lambda one: abs(one.effects[metric].change or 0.0))
            change = largest.effects[metric].change
            blocks = listed(sorted({one.block for one in clear}))
            said.append(
                f"{METRICS[metric]}: at {blocks}, most without the {largest.components} of block "
                f"{largest.block} ({change:+.3g})"
            )
    if not said:
        return (
            "Nothing that is measured changes more than when as much is taken away along other "
            "directions."
        )
    return "Beyond what as much along other directions changes: " + "; ".join(said) + "."


def effects_of(intact: Values, values: Values, controls: Sequence[Values]) -> dict[str, Effect]:
    """The effect of an intervention on each metric.

    Args:
        intact: Every metric of the intact model, by example.
        values: The same under the intervention.
        controls: The same under each control.
    """
    found = {}
    for metric, before in intact.items():
        changed = values[metric] - before
        others = [held[metric] - before for held in controls]
        control = np.mean(others, axis=0) if others else np.full(len(before), math.nan)
        change, beyond = _interval(changed), _interval(changed - control)
        found[metric] = Effect(
            value=mean_of(values[metric]),
            change=change[0],
            halfwidth=change[1],
            control=mean_of(control),
            beyond=beyond[0],
            beyond_halfwidth=beyond[1],
            examples=int(np.isfinite(changed).sum()),
        )
    return found


def _interval(differences: Float[np.ndarray, " examples"]) -> tuple[float | None, float | None]:
    """Mean and half-width over the examples that have a value."""
    known = differences[np.isfinite(differences)]
    if not len(known):
        return None, None
    found = paired_difference(known[None])
    return found.mean, found.halfwidth if math.isfinite(found.halfwidth) else None


def mean_of(values: Float[np.ndarray, " examples"]) -> float | None:
    """The mean over the examples that have a value; None where none has."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None

"""Curves over blocks whose truth is known: nothing in common but depth, or a planted part."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

Curve = Float[np.ndarray, " layers"]
Pairs = list[tuple[Curve, Curve]]
Rng = np.random.Generator

SLOPE = 3.0
"""Rise over the blocks, in standard deviations of the noise each way: two curves that share nothing
but this correlate by 0.7 to 0.9, as the published ones do."""
WIDTH = 1.5
"""Blocks over which noise is alike."""


def noise(rng: Rng, layers: int, width: float = WIDTH) -> Curve:
    """Smooth noise of standard deviation 1; its last block is not a neighbour of the first."""
    beyond = int(8 * width) + 1
    drawn = rng.standard_normal(layers + 2 * beyond)
    held = gaussian_filter1d(drawn, width)[beyond:-beyond] if width else drawn[beyond:-beyond]
    return np.asarray(held / held.std())


def _rising(rng: Rng, layers: int, width: float = WIDTH) -> Curve:
    return np.asarray(SLOPE * np.linspace(-1, 1, layers) + noise(rng, layers, width))


def _falling(rng: Rng, layers: int) -> Curve:
    place = np.linspace(0, 1, layers)
    return np.asarray(2 * SLOPE * np.exp(-place * rng.uniform(2, 8)) + noise(rng, layers))


def _valley(rng: Rng, layers: int) -> Curve:
    place = np.linspace(0, 1, layers) - rng.uniform(0.2, 0.8)
    return np.asarray(3 * SLOPE * place**2 + noise(rng, layers))


def _apart(curve: Callable[[Rng, int], Curve]) -> Callable[[Rng, int], Pairs]:
    """One run: two curves of a kind that share nothing else."""
    return lambda rng, layers: [(curve(rng, layers), curve(rng, layers))]


def _tasks(rng: Rng, layers: int) -> Pairs:
    """One run with two tasks: one scan, and two outcomes that are half the same."""
    scan, both = _rising(rng, layers), noise(rng, layers)
    outcomes = [both + _rising(rng, layers) for _ in range(2)]
    return [(scan, outcome) for outcome in outcomes]


NULLS: dict[str, tuple[str, Callable[[Rng, int], Pairs]]] = {
    "rising": ("both rise with depth", _apart(_rising)),
    "rough": ("the same, neighbours independent", _apart(lambda r, n: _rising(r, n, 0.0))),
    "slow": ("the same, noise alike over twice as many blocks", _apart(
        lambda r, n: _rising(r, n, 2 * WIDTH)
    )),
    "falling": ("both fall steeply in the first blocks", _apart(_falling)),
    "valley": ("both have a valley, each at its own place", _apart(_valley)),
    "tasks": ("one scan and two related outcomes in each run", _tasks),
}  # fmt: skip
"""Families of curves that have nothing in common but depth: what they are, and one run of them."""


def shared_shapes(rng: Rng, layers: int, runs: int) -> list[Pairs]:
    """Runs of one architecture: scan and outcome each have a shape of their own in all runs.

    The two shapes have nothing in common but depth. Half of what depth leaves of a curve is its
    architecture's, half its run's.
    """
    shapes = [noise(rng, layers), noise(rng, layers)]
    return [
        [(_rising(rng, layers) + shapes[0], _rising(rng, layers) + shapes[1])] for _ in range(runs)
    ]


def planted(rng: Rng, layers: int, share: float) -> Pairs:
    """One run whose curves share this part of the variance that depth leaves."""
    trend, common = SLOPE * np.linspace(-1, 1, layers), noise(rng, layers)
    one, two = (
        trend + np.sqrt(share) * common + np.sqrt(1 - share) * noise(rng, layers) for _ in range(2)
    )
    return [(one, two)]

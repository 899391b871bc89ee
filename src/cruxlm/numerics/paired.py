"""The difference of two arms that were run with the same seeds on the same examples."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

LEVEL = 0.95
"""Share of repetitions whose interval holds the true difference."""


@dataclass(frozen=True)
class Difference:
    """A mean difference and how far it can be believed."""

    mean: float
    """Mean over seeds and examples."""
    halfwidth: float
    """Half the width of its 95 % interval; NaN for a single example."""
    seeds: int
    """Seeds that it was measured with."""
    examples: int
    """Examples that it was measured on."""
    spread: float
    """Standard deviation of the means of the seeds; NaN for a single seed."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return abs(self.mean) > self.halfwidth


def paired_difference(differences: Float[np.ndarray, "seeds samples"]) -> Difference:
    """Mean of paired differences, with an interval over seeds and examples.

    Both are samples: of the trainings that could have been run, and of the examples that could have
    been asked. In the two-way random-effects layout without replication the variance of the grand
    mean is (MS_seeds + MS_examples - MS_residual) / (seeds x examples), with the degrees of freedom
    of Satterthwaite (1946). With one seed it is over examples alone, and says nothing about other
    trainings.
    """
    values = np.asarray(differences, dtype=np.float64)
    seeds, samples = values.shape
    mean = float(values.mean())
    by_seed, by_sample = values.mean(axis=1), values.mean(axis=0)
    spread = float(by_seed.std(ddof=1)) if seeds > 1 else math.nan
    if samples < 2:
        return Difference(mean, math.nan, seeds, samples, spread)
    of_samples = seeds * float(by_sample.var(ddof=1))
    if seeds == 1:
        terms = [(of_samples, samples - 1)]
        variance = of_samples / samples
    else:
        of_seeds = samples * float(by_seed.var(ddof=1))
        residuals = values - by_seed[:, None] - by_sample[None, :] + mean
        rest = float(np.square(residuals).sum()) / ((seeds - 1) * (samples - 1))
        # Seeds cannot differ by less than the residuals make them.
        of_seeds = max(of_seeds, rest)
        terms = [(of_seeds, seeds - 1), (of_samples, samples - 1)]
        terms.append((-rest, (seeds - 1) * (samples - 1)))
        variance = max(sum(square for square, _ in terms), 0.0) / (seeds * samples)
    total = sum(square for square, _ in terms)
    wobble = sum(square**2 / freedom for square, freedom in terms)
    freedom = total**2 / wobble if wobble > 0 else float(samples - 1)
    # The term that is taken off can leave less freedom than any term has.
    freedom = max(freedom, float(min(freedoms for _, freedoms in terms)))
    halfwidth = float(student.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
    return Difference(mean, halfwidth, seeds, samples, spread)


def paired_shares(differences: Float[np.ndarray, "seeds samples"]) -> Difference:
    """Mean difference of two shares, from values of 0 and 1 paired by seed and example.

    To the examples two are added that pull to neither side: half an example in each of the four
    ways that a pair can come out, as Agresti and Min do with one seed (Simple improved confidence
    intervals for comparing matched proportions, Statistics in Medicine 24, 2005). Without them the
    interval has no width where all examples come out alike. The interval is around the difference
    that these give, a little nearer to zero than the one observed.
    """
    half = math.sqrt(0.5)
    return paired_difference(_with(differences, (half, -half)))


def share_over_seeds(values: Float[np.ndarray, "seeds samples"]) -> Difference:
    """A share of examples over seeds: two right and two wrong ones are added, as by Agresti, Coull.

    Approximate is better than "exact" for interval estimation of binomial proportions, The American
    Statistician 52, 1998. The mean is that of all of them, nearer to a half than what was observed.
    """
    return paired_difference(_with(values, (1.0, 1.0, 0.0, 0.0)))


def _with(
    values: Float[np.ndarray, "seeds samples"], added: tuple[float, ...]
) -> Float[np.ndarray, "seeds more"]:
    """The same values of further examples, alike with every seed."""
    held = np.asarray(values, dtype=np.float64)
    return np.concatenate([held, np.broadcast_to(added, (len(held), len(added)))], axis=1)

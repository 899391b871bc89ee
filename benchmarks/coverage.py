"""How often 95 % intervals of debiased CKA hold the true value, over draws with a known one.

    python benchmarks/coverage.py [--draws 400]

x = zA and y = zB for a standard normal z, so CKA = ||A'B||^2 / (||A'A|| ||B'B||) exactly. The
spectrum of the features falls as a power of the index; `mixing` adds independent directions to y.
"""

import argparse

import torch

from cruxlm.numerics.resampling import deal, interval_halfwidth
from cruxlm.numerics.similarity import cka

WIDTH = 48
CASES = ((0.1, 0.5), (0.5, 0.5), (1.5, 1.0), (4.0, 0.0), (None, 0.3))
"""Mixing (None: independent clouds) and the power of the spectrum."""


def maps(mixing: float | None, power: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """A, B and the true CKA."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.diag(torch.arange(1, WIDTH + 1).float() ** -power)
    turns = torch.randn(2, WIDTH, WIDTH, generator=generator)
    one, two = (torch.linalg.qr(turn)[0] for turn in turns)
    zero = torch.zeros(WIDTH, WIDTH)
    a = torch.cat([spectrum, zero])
    if mixing is None:
        b = torch.cat([zero, spectrum])
    else:
        b = torch.cat([spectrum @ one, mixing * spectrum @ two])
    truth = (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    return a, b, float(truth)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=400)
    draws = parser.parse_args().draws
    print(f"| samples | spectrum | true CKA | mean estimate | held by the interval, of {draws} |")
    for samples in (60, 100, 300):
        for mixing, power in CASES:
            a, b, truth = maps(mixing, power, seed=1)
            generator = torch.Generator().manual_seed(samples)
            held, total = 0, 0.0
            for draw in range(draws):
                z = torch.randn(samples, 2 * WIDTH, generator=generator)
                found = cka(torch.stack([z @ a, z @ b]), resampling=deal(range(samples), seed=draw))
                value, stderr = float(found.values[0, 1]), float(found.stderr[0, 1])
                held += abs(value - truth) <= interval_halfwidth(20) * stderr
                total += value
            print(f"| {samples} | power {power:g} | {truth:.4f} | {total / draws:.4f} "
                  f"| {held / draws:.1%} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

"""All-pairs debiased CKA against pytorch-cka, against a loop over pairs, and against bare products.

    python benchmarks/similarity.py [--rounds 5]

33 layers, 512 samples, width 1024, float32. The bare products are the 33 Grams and the one product
of the stacked Grams, with nothing else done.
"""

import argparse
from collections.abc import Callable

import cka as pytorch_cka
import torch
from paired import machine, paired

from cruxlm.numerics.resampling import deal
from cruxlm.numerics.similarity import cka

LAYERS, SAMPLES, WIDTH = 33, 512, 1024


def bare(states: torch.Tensor) -> torch.Tensor:
    """What any Gram-based all-pairs method has to do."""
    grams = torch.stack([x @ x.T for x in states]).view(LAYERS, -1)
    return grams @ grams.T


def per_pair(states: torch.Tensor, pairs: list[tuple[int, int]]) -> list[float]:
    """The common way: for each pair both Grams, centred with the matrix H, three HSICs."""
    n = states.shape[1]
    centring = torch.eye(n) - torch.ones(n, n) / n

    def hsic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        k, m = x @ x.T, y @ y.T
        return ((centring @ k @ centring) * (centring @ m @ centring)).sum()

    def one(x: torch.Tensor, y: torch.Tensor) -> float:
        return float(hsic(x, y) / (hsic(x, x).sqrt() * hsic(y, y).sqrt()))

    return [one(states[i], states[j]) for i, j in pairs]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(SAMPLES, WIDTH, generator=generator)
    states = shared + torch.randn(LAYERS, SAMPLES, WIDTH, generator=generator)
    groups = deal(range(SAMPLES))

    hsic_cross: Callable[..., torch.Tensor] = pytorch_cka.hsic_cross

    def theirs_features() -> object:
        return pytorch_cka.cka_from_features(states, states)

    def theirs_grams() -> object:
        # Their fastest arithmetic: Grams once, then the cross terms of all pairs.
        grams = torch.bmm(states, states.mT)
        return hsic_cross(grams, grams)

    # The loop is timed on a few pairs: all 33 x 33 (it does both orders) would take minutes.
    few = [(i, (7 * i) % LAYERS) for i in range(8)]
    everything = LAYERS * LAYERS / len(few)
    rows = [
        ("plain / bare products", lambda: cka(states), lambda: bare(states), 1.0),
        (
            "with errors and half-samples / bare products",
            lambda: cka(states, resampling=groups),
            lambda: bare(states),
            1.0,
        ),
        ("pytorch-cka cka_from_features / ours", theirs_features, lambda: cka(states), 1.0),
        ("pytorch-cka hsic_cross on Grams / ours", theirs_grams, lambda: cka(states), 1.0),
        (
            "loop over pairs / ours",
            lambda: per_pair(states, few),
            lambda: cka(states),
            everything,
        ),
    ]
    print(machine())
    for name, one, other, factor in rows:
        ratio, spread = paired(one, other, rounds)
        scaled = f", of {len(few)} pairs times {everything:.0f}" if factor != 1 else ""
        print(f"| {name} | {ratio * factor:.2f} (raw {spread}{scaled}) |")


if __name__ == "__main__":
    main()

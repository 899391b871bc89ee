"""Principal angles in closed form against an iterative CCA; and what an intervention costs.

    python benchmarks/spectra.py [--rounds 5] [--threads 1] [--pairs 3]

Angles: 24 layers of 300 samples of width 1,024, neighbours up to two apart. One decomposition a
layer and one product a pair give the mean canonical correlations for every K up to 10. The peer is
the procedure of the paper's notebook: for every pair and K = 1, 3, 10 a full singular value
decomposition of both layers, and scikit-learn's iterative CCA of their leading components. It is
timed on ``--pairs`` pairs and scaled to all 90 (45 pairs of neighbours, in both orders as there).

Intervention: a Llama of 16 blocks of width 512 writes 64 tokens after 16 prompts, greedily with a
KV cache; under the removal of 3 components at every step, and without.
"""

import argparse
import warnings

import numpy as np
import torch
from paired import machine, paired
from sklearn.cross_decomposition import CCA
from transformers import LlamaConfig, LlamaForCausalLM

from cruxlm.evaluate.decoding import greedy
from cruxlm.models.intervene import Intervention, intervened
from cruxlm.models.load import load_model
from cruxlm.numerics.decomposition import decompose
from cruxlm.numerics.subspace import random_subspace
from cruxlm.numerics.subspaces import mean_correlations

LAYERS, SAMPLES, WIDTH, REACH, MOST = 24, 300, 1024, 2, 10
KS = (1, 3, 10)


def made_states() -> torch.Tensor:
    """Layers that change slowly, with spectra that fall as those of real states do."""
    draw = torch.Generator().manual_seed(0)
    scale = torch.arange(1, WIDTH + 1) ** -0.7
    first = torch.randn(SAMPLES, WIDTH, generator=draw)
    steps = 0.3 * torch.randn(LAYERS, SAMPLES, WIDTH, generator=draw)
    return (first + steps.cumsum(0)) * scale


def closed(states: torch.Tensor) -> list[torch.Tensor]:
    """All neighbour pairs, every K."""
    found = [decompose(layer) for layer in states]
    return [
        mean_correlations(found[a], found[b], MOST)
        for a in range(LAYERS)
        for b in range(a + 1, min(a + REACH + 1, LAYERS))
    ]


def iterative(states: torch.Tensor, pairs: int) -> list[float]:
    """Some neighbour pairs, three K."""
    found = []
    for a in range(pairs):
        for k in KS:
            parts = []
            for layer in (states[a], states[a + 1]):
                u, s, _ = np.linalg.svd((layer - layer.mean(0)).numpy(), full_matrices=False)
                parts.append(u[:, :k] * s[:k])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one, other = CCA(n_components=k).fit_transform(*parts)
            found.append(np.mean([np.corrcoef(one[:, i], other[:, i])[0, 1] for i in range(k)]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    states = made_states()
    exact, loop = closed(states), iterative(states, options.pairs)
    neighbours = [place for place in range(2 * options.pairs) if place % 2 == 0]
    apart = max(
        abs(float(exact[pair][k - 1]) - loop[3 * row + column])
        for row, pair in enumerate(neighbours)
        for column, k in enumerate(KS)
    )
    ratio, spread = paired(
        lambda: iterative(states, options.pairs), lambda: closed(states), options.rounds
    )
    share = 2 * len(exact) / options.pairs
    low, _, high = spread.partition(" to ")
    print(machine())
    print(f"largest difference of a mean correlation: {apart:.1e}")
    print(
        f"iterative CCA of all pairs / closed form, every K: {ratio * share:.0f} "
        f"({float(low) * share:.0f} to {float(high) * share:.0f}; target 20)"
    )

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096, hidden_size=512, intermediate_size=1536, num_hidden_layers=16,
        num_attention_heads=8, max_position_embeddings=256,
    )  # fmt: skip
    model = load_model(LlamaForCausalLM(config).eval())
    prompts = [tuple(range(3 + p, 35 + p)) for p in range(16)]
    top = Intervention(8, random_subspace(3, torch.zeros(512), 0))

    def plain() -> None:
        greedy(model, prompts, max_new_tokens=64, ends=(), batch_size=16)

    def changed() -> None:
        with intervened(model, top):
            plain()

    ratio, spread = paired(changed, plain, options.rounds)
    said = f"{ratio:.2f} ({spread}; target 1.10)"
    print(f"generation under an intervention at every step / plain: {said}")


if __name__ == "__main__":
    main()

"""A shift is attributed to the directions that it was planted in, and to no others."""

import numpy as np
import pytest
import torch

from cruxlm.numerics.attribution import attribute
from cruxlm.numerics.decomposition import decompose
from cruxlm.numerics.resampling import deal
from cruxlm.numerics.subspace import random_subspace

SAMPLES, WIDTH = 150, 40


def turned(seed=0, *, size=3.0):
    """States whose first two of ten shared directions mean something else afterwards."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    basis = torch.linalg.qr(normal(WIDTH, WIDTH)).Q.T
    content = normal(SAMPLES, 10)
    scale = torch.tensor([size, size, *([1.0] * 8)], dtype=torch.float64)
    before = (content * scale) @ basis[:10] + 0.05 * normal(SAMPLES, WIDTH) + 4
    content = torch.cat([normal(SAMPLES, 2), content[:, 2:]], dim=1)
    after = (content * scale) @ basis[:10] + 0.05 * normal(SAMPLES, WIDTH) + 4
    return before, after, basis


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_shift_is_found_where_it_lies(seed):
    before, after, basis = turned(seed)
    top = decompose(after).right
    assert torch.linalg.svdvals(top[:2] @ basis[:2].T).min() > 0.98  # the planted directions
    sets = [top[:1], top[:2], top[2:4], basis[:2], basis[20:22]]
    sets += [random_subspace(2, torch.zeros(WIDTH), draw).directions for draw in range(3)]
    found = attribute(before, after, sets, resampling=deal(range(SAMPLES)))
    assert found.shift > 0.5
    assert found.shares[1] > 0.9
    assert found.shares[3] > 0.95
    assert found.shares[0] < 0.8
    assert found.shares[2] < 0.05
    assert np.abs(found.shares[4:]).max() < 0.1
    assert (found.shares_stderr > 0).all()


def test_what_layers_have_in_common_has_a_negative_share():
    before, after, basis = turned(size=1.0)
    assert attribute(before, after, [basis[2:10]]).shares[0] < -0.2


def test_no_shift_has_no_shares():
    before, *_ = turned()
    noise = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(9))
    found = attribute(before, before + 1e-9 * noise, [decompose(before).right[:2]],
                      resampling=deal(range(SAMPLES)))  # fmt: skip
    assert found.shift == pytest.approx(0, abs=1e-6)
    assert np.isnan(found.shares).all()


def test_oracle():
    """Debiased CKA of the projected states, by the definition of Song et al. with full matrices."""
    before, after, basis = turned()

    def hsic(x, y):
        n = len(x)
        k, m = x @ x.T, y @ y.T
        k.fill_diagonal_(0)
        m.fill_diagonal_(0)
        one = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2))
        return one - 2 / (n - 2) * (k.sum(0) * m.sum(0)).sum()

    def shift(x, y):
        x, y = x - x.mean(0), y - y.mean(0)
        return 1 - hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt()

    off = torch.eye(WIDTH, dtype=torch.float64) - basis[:2].T @ basis[:2]
    oracle = 1 - shift(before @ off, after @ off) / shift(before, after)
    found = attribute(before, after, [basis[:2]])
    assert found.shares[0] == pytest.approx(float(oracle), abs=1e-9)
    assert found.shift == pytest.approx(float(shift(before, after)), abs=1e-9)
    assert found.stderr is None


@pytest.mark.parametrize(("turn", "size"), [(1.0, 3.0), (0.3, 1.0)])
def test_intervals_hold_the_truth(turn, size):
    """95 % intervals, Student's t with 19 degrees of freedom; the truth from 3,000 samples."""
    basis = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(5))).Q.T
    scale = torch.tensor([size, size, *([1.0] * 8)])
    sets = [basis[:1], basis[:2], basis[2:4]]

    def drawn(samples, seed):
        draw = torch.Generator().manual_seed(seed)
        content, other = torch.randn(2, samples, 10, generator=draw)
        changed = content.clone()
        changed[:, :2] = (1 - turn) * content[:, :2] + turn * other[:, :2]
        changed[:, 2:4] = 0.9 * content[:, 2:4] + 0.3 * other[:, 2:4]
        noise = 0.2 * torch.randn(2, samples, 40, generator=draw)
        return [
            (c * scale) @ basis[:10] + own for c, own in zip((content, changed), noise, strict=True)
        ]

    truth = attribute(*drawn(3000, 999), sets).shares
    dealt, held = deal(range(100), halves=1), []
    for seed in range(150):
        found = attribute(*drawn(100, seed), sets, resampling=dealt)
        held.append(np.abs(found.shares - truth) <= 2.09 * found.shares_stderr)
    covered = np.mean(held, axis=0)
    assert (covered >= 0.88).all()
    assert covered.mean() <= 0.985

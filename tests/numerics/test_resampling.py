"""Errors: exact where a closed form exists, calibrated by simulation where none does."""

import pytest
import torch

from cruxlm.numerics.resampling import (
    deal,
    interval_halfwidth,
    jackknife_stderr,
)
from cruxlm.numerics.similarity import cka


def population(d, mixing, power, generator):
    """Maps A, B with x = zA, y = zB for a standard normal z, and their exact CKA.

    The covariances are A'A, B'B and A'B: CKA = ||A'B||^2 / (||A'A|| ||B'B||).
    """
    spectrum = torch.diag(torch.arange(1, d + 1).float() ** -power)
    turn, other = (torch.linalg.qr(torch.randn(d, d, generator=generator))[0] for _ in range(2))
    a = torch.cat([spectrum, torch.zeros(d, d)])
    if mixing is None:
        b = torch.cat([torch.zeros(d, d), spectrum])
    else:
        b = torch.cat([spectrum @ turn, mixing * spectrum @ other])
    truth = (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    return a, b, float(truth)


@pytest.mark.parametrize(
    ("mixing", "power"), [(0.1, 0.5), (0.5, 0.5), (1.5, 0.7), (4.0, 0.0), (None, 0.3)]
)
def test_intervals_hold_the_known_cka_in_90_to_98_percent(mixing, power):
    """From CKA 0.997 down to independence (where the estimator has only pair variance)."""
    generator = torch.Generator().manual_seed(11)
    a, b, truth = population(32, mixing, power, generator)
    draws, samples, held = 400, 150, 0
    for draw in range(draws):
        z = torch.randn(samples, 64, generator=generator)
        found = cka(torch.stack([z @ a, z @ b]), resampling=deal(range(samples), seed=draw))
        half = interval_halfwidth(20) * float(found.stderr[0, 1])
        held += abs(float(found.values[0, 1]) - truth) <= half
    # 90 to 98 % are the true rates allowed; the count of 400 scatters by another 1.5 %.
    assert 0.885 <= held / draws <= 0.99


def test_the_jackknife_of_a_mean_is_its_textbook_error():
    values = torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left_out = (values.sum() - values) / 19
    assert jackknife_stderr(left_out) == pytest.approx(float(values.std() / 20**0.5), rel=1e-12)


def test_the_interaction_of_pairs_is_taken_off():
    """A statistic of pairs alone: the sum over g < h of independent w_gh has a known variance."""
    generator = torch.Generator().manual_seed(4)
    groups, estimates = 20, []
    for _ in range(300):
        w = torch.randn(groups, groups, generator=generator, dtype=torch.float64).triu(1)
        w = w + w.T
        total = w.sum()
        # As a U-statistic, it is divided by the number of pairs that are left.
        left = (total - 2 * w.sum(1)) * (groups * (groups - 1)) / ((groups - 1) * (groups - 2))
        estimates.append(torch.stack([jackknife_stderr(left), jackknife_stderr(left, w)]))
    plain, corrected = torch.stack(estimates).square().mean(0).tolist()
    truth = 4 * groups * (groups - 1) / 2  # each of the 190 pairs counts twice
    assert plain > 1.9 * truth
    # The variance is kept from falling below that of the pairs, so it errs on the wide side.
    assert truth < corrected < 1.4 * truth


def test_half_samples_agree_with_the_jackknife():
    """Halves without replacement scatter about the whole as the whole scatters about the truth."""
    generator = torch.Generator().manual_seed(7)
    a, b, _ = population(16, 0.8, 0.5, generator)
    z = torch.randn(400, 32, generator=generator)
    found = cka(torch.stack([z @ a, z @ b]), resampling=deal(range(400)))
    scatter = (found.halves - found.values).square().mean(0).sqrt()[0, 1]
    # The finite-sample factor (1 - f) / f is 1 for halves.
    assert float(scatter) == pytest.approx(float(found.stderr[0, 1]), rel=0.3)


def test_halves_hold_half_of_the_groups_each_once():
    resampling = deal(range(300))
    assert resampling.halves.shape == (200, 20)
    assert set(resampling.halves.sum(1).tolist()) == {10}
    assert len({tuple(row) for row in resampling.halves.tolist()}) > 190


def test_a_repeated_sample_would_undo_the_debiasing():
    """Why nothing is drawn with replacement."""
    clouds = torch.randn(2, 300, 4096, generator=torch.Generator().manual_seed(0))
    drawn = torch.randint(0, 300, (300,), generator=torch.Generator().manual_seed(1))
    assert abs(float(cka(clouds).values[0, 1])) < 0.01
    assert float(cka(clouds[:, drawn]).values[0, 1]) > 0.2


def test_clusters_stay_together():
    clusters = [i // 5 for i in range(200)]
    member = deal(clusters).member
    assert all(len(set(member[i * 5 : i * 5 + 5].tolist())) == 1 for i in range(40))
    assert set(torch.bincount(member).tolist()) == {10}


def test_the_deal_depends_on_the_seed_alone():
    assert torch.equal(deal(range(50)).member, deal(range(50)).member)
    assert not torch.equal(deal(range(50)).member, deal(range(50), seed=1).member)


@pytest.mark.parametrize("samples", [4, 5, 7])
def test_too_few_samples_give_no_halves(samples):
    resampling = deal(range(samples))
    assert len(resampling.halves) == 0
    found = cka(torch.randn(2, samples, 3), resampling=resampling)
    assert (found.stderr is None) == (samples == 4)

"""The CKA accumulator: batches, their order and merging do not matter."""

import pytest
import torch

from cruxlm.numerics.accumulate import CKAccumulator
from cruxlm.numerics.similarity import cka

IDS = [f"s{i:02d}" for i in range(24)]


def states():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 8, generator=generator) + torch.randn(3, 24, 8, generator=generator)


def filled(pieces, estimator="debiased"):
    found = CKAccumulator(estimator)
    for piece in pieces:
        found.update([IDS[i] for i in piece], states()[:, piece])
    return found


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_equals_cka_of_everything(estimator):
    whole = cka(states(), estimator=estimator).values
    for pieces in ([range(24)], [range(5), range(5, 24)], [[i] for i in reversed(range(24))]):
        found = filled([list(p) for p in pieces], estimator).compute()
        assert torch.allclose(found.values, whole, atol=1e-6)
        assert torch.equal(found.stderr, filled([list(range(24))], estimator).compute().stderr)


def test_merge_is_exact_and_joins_by_id():
    one, two = filled([list(range(14))]), filled([list(range(10, 24))])
    merged = one.merge(two).compute()
    assert torch.allclose(merged.values, cka(states()).values, atol=1e-6)
    assert torch.equal(two.merge(one).compute().values, merged.values)


def test_merge_leaves_both_as_they_were():
    one, two = filled([list(range(12))]), filled([list(range(12, 24))])
    before = one.compute().values
    one.merge(two)
    assert torch.equal(one.compute().values, before)


def test_too_few_samples():
    with pytest.raises(ValueError, match="at least 4"):
        CKAccumulator().compute()
    with pytest.raises(ValueError, match="at least 4"):
        filled([[0, 1, 2]]).compute()

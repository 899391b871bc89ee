"""Interventions: exact however a sequence is read, and nothing left behind."""

import pytest
import torch

from conftest import tiny_llama
from cruxlm.evaluate.decoding import greedy
from cruxlm.models.identity import module_sha256
from cruxlm.models.intervene import Intervention, intervened
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.numerics.decomposition import decompose
from cruxlm.numerics.subspace import Subspace, components, random_subspace
from cruxlm.runtime.errors import OptionError
from plans.twelve import KINDS, made

BLOCK, ROWS = 1, [list(range(3, 15)), list(range(20, 25)), list(range(30, 37))]
PROMPTS = {tuple(row[:3]): [(2, None)] for row in ROWS}


@pytest.fixture(scope="module")
def model():
    module = tiny_llama(blocks=4)
    with torch.no_grad():  # states that differ, so that a change of them is seen
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return load_model(module)


@pytest.fixture(scope="module")
def bank(model):
    return torch.cat([after_block(model, row) for row in ROWS])


@pytest.fixture(scope="module")
def top(bank):
    return components(decompose(bank), [0, 1])


def after_block(model, row, block=BLOCK):
    held = []
    with Patch() as patch, torch.no_grad():
        patch.watch_output(model.blocks.modules[block], lambda states: held.append(states[0]))
        model.module(input_ids=torch.tensor([row]))
    return held[0]


def logits(model, row, **more):
    with torch.no_grad():
        return model.module(input_ids=torch.tensor([row]), **more).logits[0]


def all_kinds(top, bank):
    random = random_subspace(2, top.mean, 0)
    return [
        Intervention(BLOCK, top),
        Intervention(BLOCK, top, "keep"),
        Intervention(BLOCK, top, "resample", bank=bank),
        Intervention(BLOCK, top, "constant"),
        Intervention(BLOCK, random, like=top),
    ]


def test_what_is_left_has_no_part_in_the_subspace(model, top):
    row, before = ROWS[0], after_block(model, ROWS[0])
    with intervened(model, Intervention(BLOCK, top)):
        removed = after_block(model, row)
    with intervened(model, Intervention(BLOCK, top, "keep")):
        kept = after_block(model, row)
    assert top.coordinates(removed).abs().max() < 1e-5
    assert top.coordinates(before).abs().max() > 0.1
    # The two parts are orthogonal and make up the state.
    mean = top.mean.float()
    assert torch.allclose(removed + kept - mean, before, atol=1e-5)
    assert ((removed - mean) * (kept - mean)).sum(-1).abs().max() < 1e-6 * before.square().sum()
    # Twice is once.
    with intervened(model, Intervention(BLOCK, top)), intervened(model, Intervention(BLOCK, top)):
        assert torch.allclose(after_block(model, row), removed, atol=1e-6)


def test_oracle_in_float64(model, top):
    before = after_block(model, ROWS[0]).double()
    onto = top.directions.T @ torch.linalg.inv(top.directions @ top.directions.T) @ top.directions
    oracle = before - (before - top.mean) @ onto
    with intervened(model, Intervention(BLOCK, top)):
        assert torch.allclose(after_block(model, ROWS[0]).double(), oracle, atol=1e-5)


def test_a_control_takes_as_much_and_another_direction(model, top):
    random = random_subspace(2, top.mean, 0)
    before = after_block(model, ROWS[0])
    with intervened(model, Intervention(BLOCK, random, like=top)):
        taken = before - after_block(model, ROWS[0])
    assert torch.allclose(taken.norm(dim=-1), top.part(before).norm(dim=-1), rtol=1e-4)
    assert torch.allclose(random.part(taken + random.mean.float()), taken, atol=1e-4)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("spans", [None, PROMPTS], ids=["everywhere", "spans"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model, top, bank, number, spans, side):
    intervention = all_kinds(top, bank)[number]
    tokens, mask = torch.full((3, 12), 5), torch.zeros(3, 12, dtype=torch.long)
    for place, row in enumerate(ROWS):
        own = slice(12 - len(row), None) if side == "left" else slice(len(row))
        tokens[place, own], mask[place, own] = torch.tensor(row), 1
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with intervened(model, intervention, spans), torch.no_grad():
        together = model.module(input_ids=tokens, attention_mask=mask, position_ids=positions)
        for place, row in enumerate(ROWS):
            alone = logits(model, row)
            assert torch.allclose(together.logits[place][mask[place] == 1], alone, atol=1e-4)
            assert not torch.allclose(plain(model, row)[-1], alone[-1], atol=1e-3)


def plain(model, row):
    """The logits without any hook of ours."""
    fresh = load_model(tiny_llama(blocks=4))
    fresh.module.load_state_dict(model.module.state_dict())
    return logits(fresh, row)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("spans", [None, PROMPTS], ids=["everywhere", "spans"])
def test_a_cache_changes_nothing(model, top, bank, number, spans):
    intervention = all_kinds(top, bank)[number]
    prompts = [tuple(row[:3]) for row in ROWS]
    with intervened(model, intervention, spans):
        kept, again = (
            greedy(model, prompts, max_new_tokens=8, ends=(), use_cache=use)
            for use in (True, False)
        )
    assert [k.tokens for k in kept] == [a.tokens for a in again]
    assert [k.tokens for k in kept] != [
        p.tokens for p in greedy(model, prompts, max_new_tokens=8, ends=())
    ]


def test_nothing_taken_away_is_the_model_itself(model, top):
    nothing = Subspace(top.directions[:0], top.mean)
    before, text = logits(model, ROWS[0]), greedy(model, [tuple(ROWS[1])], max_new_tokens=9)
    with intervened(model, Intervention(BLOCK, nothing)):
        assert torch.equal(logits(model, ROWS[0]), before)
        assert greedy(model, [tuple(ROWS[1])], max_new_tokens=9) == text


def test_spans_leave_other_places_alone(model, top):
    row = ROWS[0]
    before = after_block(model, row)
    with intervened(model, Intervention(BLOCK, top), {tuple(row[:4]): [(1, 3), (6, 7)]}):
        after = after_block(model, row)
    same = (after == before).all(-1)
    assert (~same).nonzero().flatten().tolist() == [1, 2, 6]


def test_the_longer_beginning_counts(model, top):
    row = tuple(ROWS[0])
    with intervened(model, Intervention(BLOCK, top), {row[:2]: [(0, None)], row[:5]: []}):
        assert torch.equal(logits(model, list(row)), plain(model, list(row)))


def test_constant_is_a_projection_at_its_first_place_only(model, top):
    row = ROWS[0]
    before = after_block(model, row)
    with intervened(model, Intervention(BLOCK, top, "constant"), {tuple(row[:3]): [(2, None)]}):
        after = after_block(model, row)
    assert torch.equal(after[:2], before[:2])
    assert top.coordinates(after[2]).abs().max() < 1e-5
    taken = before[2:] - after[2:]
    assert torch.allclose(taken, taken[:1].expand_as(taken), atol=1e-5)
    assert top.coordinates(after[3:]).abs().max() > 0.1


def test_the_model_is_restored(model, top):
    digest, hooks = module_sha256(model.module), count_hooks(model)
    with pytest.raises(RuntimeError), intervened(model, Intervention(BLOCK, top)):
        raise RuntimeError
    assert module_sha256(model.module) == digest
    assert count_hooks(model) == hooks


def count_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda top, bank: Intervention(0, top, "removes"), "did you mean 'remove'"),
        (lambda top, bank: Intervention(0, top, "resample"), "states to draw from"),
        (lambda top, bank: Intervention(0, top, bank=bank), "states to draw from"),
        (lambda top, bank: Intervention(0, top, "keep", like=top), "keep cannot be scaled"),
    ],
)
def test_interventions_that_make_no_sense(top, bank, make, said):
    with pytest.raises(OptionError, match=said):
        make(top, bank)


def test_what_does_not_fit_the_model(model, top):
    with (
        pytest.raises(OptionError, match="no block 4: blocks are 0 to 3"),
        intervened(model, Intervention(4, top)),
    ):
        pass
    other = random_subspace(1, torch.zeros(7), 0)
    with pytest.raises(OptionError, match="width 7"), intervened(model, Intervention(0, other)):
        logits(model, ROWS[0])
    with (
        pytest.raises(OptionError, match="begins with none"),
        intervened(model, Intervention(0, top), PROMPTS),
    ):
        logits(model, [50, 51])


def test_half_precision_is_projected_in_full(top):
    half = load_model(tiny_llama(blocks=4).to(torch.bfloat16))
    wide = Subspace(top.directions, 1000 * torch.ones_like(top.mean))
    with intervened(half, Intervention(BLOCK, wide)):
        after = after_block(half, ROWS[0])
    assert after.dtype == torch.bfloat16
    exact = wide.coordinates(after.float()).abs().max()
    assert exact < 0.02 * wide.coordinates(torch.zeros(1, len(top.mean))).abs().max()


def test_components_that_are_not_there(bank):
    with pytest.raises(ValueError, match="component 99"):
        components(decompose(bank), [0, 99])


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_is_read_alike(kind):
    """With a cache and without, together and alone, where the intact model itself is."""
    model = load_model(made(kind))
    width = model.module.config.hidden_size
    prompts = [(3, 4, 5, 6), (7, 8), (9, 10, 11)]
    spans = {prompt: [(len(prompt) - 1, None)] for prompt in prompts}
    subspace = random_subspace(2, torch.zeros(width), 0)
    draw = torch.Generator().manual_seed(0)
    bank = torch.randn(20, width, generator=draw)

    def written(*, alone=False, use_cache=True):
        batch = 1 if alone else 32
        options = {"max_new_tokens": 5, "ends": (), "use_cache": use_cache, "batch_size": batch}
        return greedy(model, prompts, **options)

    exact = written() == written(alone=True)
    for intervention, where in (
        (Intervention(5, subspace), None),
        (Intervention(5, subspace), spans),
        (Intervention(5, subspace, "resample", bank=bank), spans),
        (Intervention(5, subspace, "constant"), spans),
    ):
        with intervened(model, intervention, where):
            assert written() == written(use_cache=False)
            assert not exact or written() == written(alone=True)

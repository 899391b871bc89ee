"""Weight change: closed forms, a planted block, adapters as their merge, other architectures."""

import copy

import numpy as np
import pytest
import torch

from conftest import tiny_llama
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.weight_change import WEIGHT_CHANGE, score_weight_change
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import ModelError, OptionError


def subject(tuned, before):
    return Subject(load_model(tuned), reference=load_model(before))


@pytest.fixture
def before():
    return tiny_llama(blocks=4, width=16)


def flat(block, keep):
    return torch.cat([p.detach().double().flatten() for p in block.parameters() if keep(p)])


@pytest.mark.parametrize(
    ("which", "keep"),
    [
        ("all", lambda p: True),
        ("matrices", lambda p: p.dim() == 2),
        ("vectors", lambda p: p.dim() == 1),
    ],
)
def test_it_is_the_norm_of_one_long_vector(before, which, keep):
    tuned = copy.deepcopy(before)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    found = score_weight_change(subject(tuned, before), which=which)
    pairs = list(zip(tuned.model.layers, before.model.layers, strict=True))
    apart = [float((flat(a, keep) - flat(b, keep)).norm()) for a, b in pairs]
    whole = [float(flat(b, keep).norm()) for _, b in pairs]
    np.testing.assert_allclose(found.series["absolute"], apart, rtol=1e-5)
    np.testing.assert_allclose(found.values, np.array(apart) / whole, rtol=1e-5)
    assert (found.stderr, found.halves, found.warnings) == (None, None, ())


def test_scaling_a_block_changes_it_by_the_factor(before):
    tuned = copy.deepcopy(before)
    with torch.no_grad():
        for parameter in tuned.model.layers[2].parameters():
            parameter.mul_(1.25)
        tuned.lm_head.weight *= 3  # no block's
    found = score_weight_change(subject(tuned, before))
    np.testing.assert_allclose(found.values, [0, 0, 0.25, 0], atol=1e-6)


def test_a_model_that_is_its_own_reference_has_not_changed(before):
    """The negative control."""
    found = score_weight_change(subject(copy.deepcopy(before), before))
    assert not found.values.any()
    assert found.warnings == ("no block's weights differ from the reference's",)


def adapted(model, **options):
    peft = pytest.importorskip("peft")
    torch.manual_seed(2)
    given = {"r": 2, "target_modules": ["q_proj", "down_proj"], **options}
    adapters = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(**given))
    with torch.no_grad():
        for name, parameter in adapters.named_parameters():
            if "lora_B" in name and ".layers.3." not in name:
                parameter.normal_(0, 0.1)
    return adapters


def test_adapters_count_as_their_merge(before):
    adapters = adapted(before)
    merged = copy.deepcopy(adapters).merge_and_unload()
    wanted = score_weight_change(subject(merged, before)).values
    found = score_weight_change(subject(adapters, before)).values
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert (found[:3] > 0.01).all()
    assert found[3] == 0
    alone = score_weight_change(Subject(load_model(adapters)))  # adapters bring their reference
    np.testing.assert_array_equal(alone.values, found)
    with adapters.disable_adapter():
        assert not score_weight_change(subject(adapters, before)).values.any()
    adapters.merge_adapter()
    with pytest.raises(ModelError, match="merged into it: unmerge them first"):
        score_weight_change(subject(adapters, before))


def test_adapters_whose_change_is_no_sum_are_refused(before):
    with pytest.raises(ModelError, match=r"lora_magnitude_vector.* knows LoRA adapters; merge"):
        score_weight_change(subject(adapted(before, use_dora=True), before))


def test_a_block_of_zeros_has_no_relative_change(before):
    with torch.no_grad():
        for parameter in before.model.layers[1].parameters():
            parameter.zero_()
    found = score_weight_change(subject(tiny_llama(blocks=4, width=16), before))
    assert np.isnan(found.values).tolist() == [False, True, False, False]
    assert any("blocks 1 have no all weights but zeros" in line for line in found.warnings)
    assert np.isfinite(found.series["absolute"]).all()


def test_bad_input(before):
    with pytest.raises(ModelError, match="needs the model that this one was made from"):
        score_weight_change(Subject(load_model(before)))
    with pytest.raises(ModelError, match=r"4 blocks and .* has 3"):
        score_weight_change(subject(before, tiny_llama(blocks=3, width=16)))
    with pytest.raises(ModelError, match=r"layers\.0\..*\(16, 16\) here and \(32, 32\)"):
        score_weight_change(subject(before, tiny_llama(blocks=4, width=32)))
    biased = tiny_llama(blocks=4, width=16)
    biased.model.layers[2].self_attn.q_proj = torch.nn.Linear(16, 16)
    with pytest.raises(ModelError, match=r"layers\.2\.self_attn\.q_proj\.bias is in one of the"):
        score_weight_change(subject(biased, before))
    with pytest.raises(OptionError, match="did you mean 'matrices'"):
        score_weight_change(subject(before, before), which="matrixes")


def test_its_presets_are_options(before):
    for preset in WEIGHT_CHANGE.presets:
        WEIGHT_CHANGE.score(subject(before, before), **WEIGHT_CHANGE.options(preset))

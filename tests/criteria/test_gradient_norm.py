"""Gradient norm: backward() and finite differences as oracles, a planted block, nothing left."""

import numpy as np
import pytest
import torch

from cruxlm.criteria.gradient_norm import GRADIENT_NORM, score_gradient_norm
from cruxlm.criteria.subject import Subject
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import ModelError, NotFiniteError, OptionError, ProbeError
from evaluate.tiny_models import built, drawn

EXAMPLES = drawn(24)


def subject(model, examples=EXAMPLES, **given):
    return Subject(load_model(model), examples=examples, **given)


def stack(model):
    return load_model(model).blocks.modules


def backward(model, example):
    """transformers' own loss of one example and backward()."""
    ids = torch.tensor([example.prompt + example.response])
    labels = ids.clone()
    labels[0, : len(example.prompt)] = -100
    model.zero_grad()
    model(ids, labels=labels).loss.backward()
    return [
        torch.cat([p.grad.flatten() for p in block.parameters() if p.grad is not None])
        for block in stack(model)
    ]


@pytest.mark.parametrize("name", ["Llama", "GPT2LMHead", "Gemma2", "GPTNeoX"])
def test_it_is_the_norm_of_what_backward_gives(name):
    model, examples = built(name), EXAMPLES[:7]
    found = score_gradient_norm(subject(model, examples), normalise="none")
    wanted = [backward(model, example) for example in examples]
    norms = np.array([[float(g.norm()) for g in own] for own in wanted]).T
    np.testing.assert_allclose(found.tensors["per_example"], norms, rtol=1e-4)
    np.testing.assert_allclose(found.values, norms.mean(axis=1), rtol=1e-4)
    mean = [float(torch.stack(own).mean(0).norm()) for own in zip(*wanted, strict=True)]
    np.testing.assert_allclose(found.series["of_mean"], mean, rtol=1e-4)
    assert (found.series["of_mean"] < found.values).all()
    assert found.evidence["examples"] == [example.id for example in examples]


def test_it_foretells_the_loss_after_a_small_step():
    """Along the gradient the loss grows by the norm a unit of length: forward passes only."""
    model, example = built("Llama").double(), EXAMPLES[3]
    found = score_gradient_norm(subject(model, [example]), normalise="none").values
    before, length = Loss()(model, [example]).mean(), 1e-4
    for block, module in enumerate(stack(model)):
        direction = backward(model, example)[block]
        weights = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        moved = weights + length * direction / direction.norm()
        torch.nn.utils.vector_to_parameters(moved, module.parameters())
        grown = Loss()(model, [example]).mean() - before
        torch.nn.utils.vector_to_parameters(weights, module.parameters())
        assert grown / length == pytest.approx(found[block], rel=2e-2)


def test_normalised_scores_are_the_norm_over_what_they_say():
    model = built("Llama")
    plain, relative, square = (
        score_gradient_norm(subject(model), normalise=by).values
        for by in ("none", "weights", "parameters")
    )
    sizes = [sum(p.numel() for p in block.parameters()) for block in stack(model)]
    norms = [
        torch.cat([p.flatten() for p in block.parameters()]).norm().item() for block in stack(model)
    ]
    np.testing.assert_allclose(square, plain / np.sqrt(sizes), rtol=1e-6)
    np.testing.assert_allclose(relative, plain / norms, rtol=1e-5)


def test_a_block_whose_output_is_not_read_has_no_gradient():
    """Planted: block 1 writes nothing and its input passes by, so only its writers can matter."""
    model = built("Llama")
    block = model.model.layers[1]
    with torch.no_grad():
        for writer in (block.self_attn.o_proj, block.mlp.down_proj):
            writer.weight.zero_()
    found = score_gradient_norm(subject(model), normalise="none")
    intact = score_gradient_norm(subject(built("Llama")), normalise="none")
    assert found.values.argmin() == 1
    assert intact.values.argmin() != 1  # the negative control: without the plant it is not lowest
    read = [block.self_attn.q_proj, block.self_attn.v_proj, block.mlp.gate_proj]
    backward(model, EXAMPLES[0])
    assert not any(module.weight.grad.any() for module in read)


def test_errors_and_halves_are_those_of_the_mean():
    found = score_gradient_norm(subject(built("Llama")), normalise="none")
    norms = found.tensors["per_example"]
    naive = norms.std(axis=1, ddof=1) / np.sqrt(len(EXAMPLES))
    assert found.halves.shape == (200, 3)
    assert np.abs(np.log(found.stderr / naive)).max() < 0.6  # 20 groups, not 24 examples
    assert np.isclose(found.halves.mean(0), found.values, rtol=0.1).all()
    single = score_gradient_norm(subject(built("Llama"), EXAMPLES[:1]))
    assert single.stderr is None


def everything(model):
    return {
        name: (p.requires_grad, p.grad, p.detach().clone()) for name, p in model.named_parameters()
    }


def test_the_model_is_left_as_it_was():
    model = built("GPT2LMHead", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    calm = score_gradient_norm(subject(model)).values
    model.train()
    model.transformer.h[0].eval()
    kept = torch.ones_like(model.transformer.h[0].mlp.c_fc.weight)
    model.transformer.h[0].mlp.c_fc.weight.grad = kept
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 3 == 0)
    before, modes = everything(model), [module.training for module in model.modules()]
    with torch.no_grad():
        again = score_gradient_norm(subject(model)).values
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(again, calm)  # frozen weights count, dropout is off
    assert [module.training for module in model.modules()] == modes
    after = everything(model)
    for name, (required, grad, weight) in before.items():
        assert after[name][0] is required
        assert after[name][1] is grad
        assert torch.equal(after[name][2], weight)
    assert torch.equal(kept, torch.ones_like(kept))


def test_an_error_leaves_the_model_as_it_was():
    model = built("Llama").train().requires_grad_(False)

    def interrupt(*_given):
        raise KeyboardInterrupt

    model.model.layers[2].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        score_gradient_norm(subject(model))
    assert not any(p.requires_grad for p in model.parameters())
    assert model.training


def test_the_order_of_examples_changes_nothing_but_the_deal():
    model = built("Llama")
    one = score_gradient_norm(subject(model)).values
    two = score_gradient_norm(subject(model, EXAMPLES[::-1])).values
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_progress_is_told_in_blocks():
    for count in (2, 24):
        told = []
        score_gradient_norm(subject(built("Llama"), EXAMPLES[:count], tick=told.append))
        assert sum(told) == 3


def test_bad_input():
    model = built("Llama")
    with pytest.raises(ProbeError, match="no examples"):
        score_gradient_norm(subject(model, ()))
    with pytest.raises(ProbeError, match="have token 61, the model knows 61"):
        score_gradient_norm(subject(model, [Example("foreign", (3,), (61,))]))
    with pytest.raises(OptionError, match="known: none, parameters, weights"):
        score_gradient_norm(subject(model), normalise="xyz")
    with pytest.raises(ModelError, match="no language-model head"):
        score_gradient_norm(subject(model.model))
    packed = model.model.layers[1].mlp.up_proj
    packed.weight = torch.nn.Parameter(packed.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight is of torch\.int8"):
        score_gradient_norm(subject(model))


def test_a_loss_that_is_not_finite_is_named():
    loaded = load_model(built("Llama"))
    with torch.no_grad():
        loaded.module.lm_head.weight[7] = torch.inf
    with pytest.raises(NotFiniteError, match="example 'seven' or its gradient is not finite"):
        score_gradient_norm(Subject(loaded, examples=[Example("seven", (3, 4), (7,))]))


def test_its_presets_are_options():
    for preset in GRADIENT_NORM.presets:
        score = GRADIENT_NORM.score(
            subject(built("Llama"), EXAMPLES[:5]), **GRADIENT_NORM.options(preset)
        )
        assert np.isfinite(score.values).all()

"""Skips that pass less of the stream, against blocks written out by hand and against ablation."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.models.granite.modeling_granite import GraniteDecoderLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.phi.modeling_phi import PhiDecoderLayer

from cruxlm.models.ablate import Ablation
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.models.shortcut import WHOLE, scaled, scaled_skip, skip_of, skips
from cruxlm.models.sublayers import HALVES
from cruxlm.runtime.errors import ModelError, OptionError
from models.ablated import NORM_AFTER, PROMPT, output
from models.architectures import BASE, MODERN, Case, architectures, built, count_hooks
from models.test_sublayers import UNHALVED

PARALLEL = {
    "PhiForCausalLM", "CohereForCausalLM", "Cohere2ForCausalLM", "FalconForCausalLM",
    "GPTJForCausalLM", "GPTNeoXForCausalLM",
}  # fmt: skip
"""Both halves read what the block is given."""
BLOCK = 1


def blocks_output(case: Case, model: nn.Module, block: nn.Module) -> tuple[Tensor, Tensor]:
    """What a block is given and what it returns."""
    seen: list[Tensor] = []
    with Patch() as patch:
        patch.watch_input(block, lambda states: seen.append(states.clone()))
        patch.watch_output(block, lambda states: seen.append(states.clone()))
        output(case, model)
    return seen[0], seen[1]


@architectures
def test_a_scaled_skip_passes_less_of_what_ablation_leaves(case: Case) -> None:
    model = built(case)
    loaded, whole = load_model(model), output(case, model)
    if case.model in UNHALVED or case.model in NORM_AFTER:
        with pytest.raises(ModelError, match=r"post-norm|only skips of blocks") as caught:
            skips(loaded)
        assert "\n" not in str(caught.value)
        assert count_hooks(model) == 0
        return
    found = skips(loaded)
    one = case.model in PARALLEL and case.options.get("parallel_attn") is not False
    halves = (WHOLE,) if one else HALVES
    assert [(skip.block, skip.half) for skip in found] == [
        (block, half) for block in range(len(loaded.blocks.modules)) for half in halves
    ]
    block = loaded.blocks.modules[BLOCK]
    given, returned = blocks_output(case, model, block)
    for half in halves:
        skip = skip_of(loaded, BLOCK, half, found)
        with scaled(skip, 1.0):
            assert torch.equal(output(case, model), whole)
        with scaled(skip, 0.3):
            _, less = blocks_output(case, model, block)
            assert (output(case, model) - whole).abs().max() > 1e-3
        stream = given
        if half == HALVES[0]:
            # Without the other half the block returns the stream after attention.
            with Ablation(loaded, "identity", HALVES[1]).without(BLOCK):
                _, returned_without = blocks_output(case, model, block)
                with scaled(skip, 0.3):
                    _, less = blocks_output(case, model, block)
            torch.testing.assert_close(less, returned_without - 0.7 * given, atol=1e-4, rtol=1e-4)
            continue
        if half == HALVES[1]:
            with Ablation(loaded, "identity", HALVES[1]).without(BLOCK):
                _, stream = blocks_output(case, model, block)
        torch.testing.assert_close(less, returned - 0.7 * stream, atol=1e-4, rtol=1e-4)
    assert count_hooks(model) == 0
    assert torch.equal(output(case, model), whole)


# Blocks written out by hand, in float64.


def wrapped(states: Tensor) -> Any:
    """What a block of these two returns in this version of transformers."""
    return states if MODERN else (states,)


class Llama(LlamaDecoderLayer):
    """Its own forward pass, with both skips scaled."""

    gammas = (1.0, 1.0)

    def forward(self, hidden_states: Tensor, **given: object) -> Any:  # type: ignore[override]
        first, second = self.gammas
        added, *_ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **given)
        stream = first * hidden_states + added
        return second * stream + self.mlp(self.post_attention_layernorm(stream))


class Granite(GraniteDecoderLayer):
    """The same; what a half adds is multiplied."""

    gammas = (1.0, 1.0)

    def forward(self, hidden_states: Tensor, **given: object) -> Any:  # type: ignore[override]
        first, second = self.gammas
        added, *_ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **given)
        stream = first * hidden_states + self.residual_multiplier * added
        normed = self.post_attention_layernorm(stream)
        return wrapped(second * stream + self.residual_multiplier * self.mlp(normed))


class Phi(PhiDecoderLayer):
    """The same; both halves read one norm of what the block is given."""

    gammas = (1.0,)

    def forward(self, hidden_states: Tensor, **given: object) -> Any:  # type: ignore[override]
        normed = self.input_layernorm(hidden_states)
        added, *_ = self.self_attn(hidden_states=normed, **given)
        return wrapped(self.gammas[0] * hidden_states + added + self.mlp(normed))


MODELS = {
    "Llama": (Llama, {}),
    "Granite": (Granite, {"residual_multiplier": 0.22}),
    "Phi": (Phi, {}),
}


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A model, and one with the same weights whose blocks are written out here."""
    torch.manual_seed(0)
    options = {**BASE, "initializer_range": 0.3, **MODELS[name][1]}
    config = getattr(transformers, f"{name}Config")(**options)
    model, other = (
        getattr(transformers, f"{name}ForCausalLM")(config).double().eval() for _ in range(2)
    )
    other.load_state_dict(model.state_dict())
    for block in other.model.layers:
        block.__class__ = MODELS[name][0]
    return model, other


def logits(model: nn.Module) -> Tensor:
    found: Tensor = model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits
    return found


@pytest.mark.parametrize("gamma", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("name", MODELS)
def test_a_scaled_skip_is_the_block_written_so(name: str, gamma: float) -> None:
    model, other = pair(name)
    loaded = load_model(model)
    torch.testing.assert_close(logits(model), logits(other))  # the control
    for place, half in enumerate(HALVES if name != "Phi" else (WHOLE,)):
        gammas = [1.0] * len(MODELS[name][0].gammas)
        gammas[place] = gamma
        other.model.layers[BLOCK].gammas = tuple(gammas)
        with scaled_skip(loaded, BLOCK, half, gamma):
            found = logits(model)
            found.square().sum().backward()
        expected = logits(other)
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
        assert (found - logits(model)).abs().max() > 1e-3
        # A training under the patch learns what it would.
        expected.square().sum().backward()
        for own, theirs in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(own.grad, theirs.grad, atol=1e-7, rtol=1e-7)
        model.zero_grad(), other.zero_grad()


def test_two_skips_at_once_and_token_by_token() -> None:
    model, other = pair("Llama")
    loaded = load_model(model)
    other.model.layers[BLOCK].gammas = (0.5, 0.2)
    first, second = (skip_of(loaded, BLOCK, half) for half in HALVES)
    options = {"max_new_tokens": 8, "do_sample": False, "min_new_tokens": 8}
    ids = torch.tensor([PROMPT])
    with scaled(first, 0.5), scaled(second, 0.2), torch.no_grad():
        torch.testing.assert_close(logits(model), logits(other), atol=1e-9, rtol=1e-9)
        cached = model.generate(ids, use_cache=True, **options)
        assert torch.equal(cached, model.generate(ids, use_cache=False, **options))
    assert not torch.equal(cached, model.generate(ids, **options))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_model_is_as_it_was_whatever_ends_it(error: type[BaseException]) -> None:
    model, _ = pair("Llama")
    loaded, whole = load_model(model), logits(model)

    def stopped() -> None:
        with scaled_skip(loaded, 0, "attention", 0.0):
            assert count_hooks(model) > 0
            logits(model)
            raise error

    with pytest.raises(error):
        stopped()
    assert count_hooks(model) == 0
    assert torch.equal(logits(model), whole)


def test_skips_that_there_are_not() -> None:
    loaded, parallel = load_model(pair("Llama")[0]), load_model(pair("Phi")[0])
    for block in (-1, 3):
        with pytest.raises(OptionError, match=f"no block {block}: the model has blocks 0 to 2"):
            skip_of(loaded, block, "attention")
    with pytest.raises(OptionError, match="no skip around 'mlp': it has attention and feed_for"):
        skip_of(loaded, 0, "mlp")
    with pytest.raises(OptionError, match="has block, since its halves read the same stream"):
        skip_of(parallel, 0, "attention")
    for gamma in (-0.1, 1.1, float("nan")):
        with (
            pytest.raises(OptionError, match="scaled by 0 to 1"),
            scaled(skip_of(loaded, 0, "attention"), gamma),
        ):
            pass


def test_a_skip_is_scaled_once() -> None:
    loaded = load_model(pair("Llama")[0])
    first, second = (skip_of(loaded, 0, half) for half in HALVES)
    with scaled(first, 0.5):
        with pytest.raises(ModelError, match="is scaled already"), scaled(first, 0.5):
            pass
        # A model is still read for what it is: halves are run alone for that.
        assert [skip.half for skip in skips(loaded)] == [*HALVES] * 3
        with scaled(second, 0.5):
            pass
    with scaled(first, 0.5):
        pass

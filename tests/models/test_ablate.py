"""Units taken away: zeroed weights, plain hooks and `Ablation` are one and the same, everywhere."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.ablate import POOL, Ablation
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch, first_tensor
from cruxlm.models.sublayers import HALVES
from cruxlm.runtime.errors import ModelError, OptionError
from models.ablated import FIRST_BLOCK, NORM_AFTER, output
from models.architectures import Case, architectures, built, count_hooks


def zeroed(model: nn.Module, names: list[str]) -> nn.Module:
    """The oracle: a copy whose matrices under some paths, and their biases, are zeros."""
    other = copy.deepcopy(model)
    for path, module in other.named_modules():
        if any(f"{path}.".startswith(f"{name}.") for name in names):
            own = dict(module.named_parameters(recurse=False))
            if any(held.dim() > 1 for held in own.values()):
                for held in own.values():
                    held.data.zero_()
    return other


def passed_on(case: Case, model: nn.Module, block: nn.Module) -> Tensor:
    """The oracle: a plain hook by which a block returns what it was given."""

    def hook(_module: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
        states = first_tensor(args) if args else kwargs["hidden_states"]
        return (states, *result[1:]) if isinstance(result, tuple) else states

    handle = block.register_forward_hook(hook, with_kwargs=True)
    try:
        return output(case, model)
    finally:
        handle.remove()


@architectures
def test_whole_blocks(case: Case) -> None:
    model = built(case)
    loaded, whole = load_model(model), output(case, model)
    before = {name: held.clone() for name, held in model.state_dict().items()}
    by_hook, by_weights = Ablation(loaded), Ablation(loaded, "zero")
    assert by_hook.names == loaded.blocks.names
    for block, module in enumerate(loaded.blocks.modules):
        with by_hook.without(block):
            found = output(case, model)
        with by_weights.without(block):
            weights = output(case, model)
        assert torch.equal(found, passed_on(case, model, module))
        assert (found - whole).abs().max() > 1e-3
        if block == 1:
            assert torch.equal(weights, output(case, zeroed(model, [loaded.blocks.names[1]])))
        if case.model not in NORM_AFTER and not (block == 0 and case.model in FIRST_BLOCK):
            assert torch.equal(weights, found), f"block {block}"
        else:  # else it is no exception
            assert not torch.equal(weights, found)
    assert count_hooks(model) == 0
    assert torch.equal(output(case, model), whole)
    after = model.state_dict()
    assert all(torch.equal(after[name], held) for name, held in before.items())


SEQUENCES = [list(range(3, 20)), list(range(40, 45)), list(range(60, 90, 2)), [7, 8]]


def contributions(model: nn.Module, block: int, part: str | None) -> Tensor:
    """The oracle: what a block, or one of its modules, adds at each token of each sequence."""
    seen: list[Tensor] = []
    layer = model.model.layers[block]  # type: ignore[union-attr,index]
    module = getattr(layer, part) if part else layer

    def hook(_module: nn.Module, args: Any, result: Any) -> None:
        states = first_tensor(result)[0]
        seen.append(states if part else states - first_tensor(args)[0])

    handle = module.register_forward_hook(hook)
    with torch.no_grad():
        for sequence in SEQUENCES:
            model(input_ids=torch.tensor([sequence]), use_cache=False)
    handle.remove()
    return torch.cat(seen)


@pytest.mark.parametrize("part", [None, "self_attn", "mlp"])
def test_a_mean_is_that_over_all_tokens(part: Any) -> None:
    model = tiny_llama(blocks=4)
    unit = {None: "block", "self_attn": "attention", "mlp": "feed_forward"}[part]
    ablation = Ablation(load_model(model), "mean", unit, sequences=SEQUENCES)
    mean = contributions(model, 2, part).mean(0)
    layer = model.model.layers[2]
    tokens, seen = torch.tensor([SEQUENCES[0]]), []
    with Patch() as patch, torch.no_grad(), ablation.without(2):
        patch.watch_input(layer, seen.append)
        patch.watch_output(getattr(layer, part) if part else layer, seen.append)
        model(tokens, use_cache=False)
    added = seen[1] if part else seen[1] - seen[0]
    torch.testing.assert_close(added, mean.expand_as(added), atol=1e-4, rtol=1e-4)


def test_the_first_token_of_a_chat_is_no_part_of_a_mean() -> None:
    model = tiny_llama(blocks=2)
    tokenizer = byte_tokenizer()
    begun = [[1, *sequence] for sequence in SEQUENCES]
    assert tokenizer.bos_token_id == 1
    with_bos = Ablation(load_model(model), "mean", sequences=begun)
    without = Ablation(load_model(model, tokenizer=tokenizer), "mean", sequences=begun)
    assert not torch.equal(with_bos._added[0], without._added[0])


def resampled(model: nn.Module, rows: list[list[int]], **options: Any) -> tuple[Tensor, Tensor]:
    """What block 1 adds to rows under resampling, and what it does by itself."""
    ablation = Ablation(load_model(model), "resample", sequences=SEQUENCES, **options)
    layer, found = model.model.layers[1], []  # type: ignore[union-attr,index]
    with Patch() as patch, torch.no_grad(), ablation.without(1):
        patch.watch_input(layer, found.append)
        patch.watch_output(layer, found.append)
        model(torch.tensor(rows), use_cache=False)
    return found[1] - found[0], contributions(model, 1, None)


def test_resampling_puts_in_contributions_of_the_examples() -> None:
    model = tiny_llama(blocks=3)
    added, pool = resampled(model, [list(range(100, 140)), list(range(140, 180))])
    apart = (added.flatten(0, 1)[:, None] - pool).norm(dim=-1)
    assert apart.min(dim=1).values.max() < 1e-4
    drawn = apart.argmin(dim=1)
    assert len(drawn.unique()) > 20  # of 39: not one for all
    again, _ = resampled(model, [list(range(100, 140)), list(range(140, 180))])
    assert torch.equal(again, added)
    other, _ = resampled(model, [list(range(100, 140)), list(range(140, 180))], seed=1)
    assert (other != added).any(dim=2).float().mean() > 0.8


def test_a_pool_is_bounded() -> None:
    model = tiny_llama(blocks=2)
    long = [list(range(3 + start, 200 + start)) for start in range(8)]
    ablation = Ablation(load_model(model), "resample", sequences=long)
    assert [len(pool) for pool in ablation._added] == [POOL, POOL]


@pytest.mark.parametrize("mode", ["identity", "zero", "mean", "resample"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_as_before_whatever_happens(mode: Any, error: type[BaseException]) -> None:
    model = tiny_llama(blocks=3)
    model.train()
    tokens = torch.tensor([SEQUENCES[0]])
    whole = model(tokens).logits
    held = {name: (p.data_ptr(), p.clone()) for name, p in model.named_parameters()}
    ablation = Ablation(load_model(model), mode, sequences=SEQUENCES)

    def run() -> None:
        with ablation.without(1):
            assert not torch.equal(model(tokens).logits, whole)
            raise error

    with pytest.raises(error):
        run()
    assert count_hooks(model) == 0
    assert all(part.training for part in model.modules())
    for name, parameter in model.named_parameters():
        pointer, values = held[name]
        assert parameter.data_ptr() == pointer
        assert torch.equal(parameter, values)
    assert torch.equal(model(tokens).logits, whole)


def test_generation_with_a_cache_is_generation_without() -> None:
    model = tiny_llama(blocks=4)
    prompts = torch.randint(3, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(prompts)
    mask[0, :4] = 0
    options = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(prompts, **options)
    for mode in ("identity", "zero", "mean", "resample"):
        for unit in ("block", *HALVES):
            ablation = Ablation(load_model(model), mode, unit, sequences=SEQUENCES)
            with ablation.without(1):
                cached = model.generate(prompts, use_cache=True, **options)
                whole = model.generate(prompts, use_cache=False, **options)
            assert torch.equal(cached, whole), (mode, unit)
            assert not torch.equal(cached, plain)


def test_what_makes_no_sense_is_refused() -> None:
    loaded = load_model(tiny_llama(blocks=2))
    with pytest.raises(OptionError, match=r"no 'zeros'.*did you mean 'zero'"):
        Ablation(loaded, "zeros")
    with pytest.raises(OptionError, match=r"no 'sublayer'.*known: attention, block, feed_forward"):
        Ablation(loaded, "zero", "sublayer")
    for mode in ("mean", "resample"):
        with pytest.raises(OptionError, match="needs examples"):
            Ablation(loaded, mode)


def test_weights_that_cannot_be_zeroed_are_refused() -> None:
    shared = tiny_llama(blocks=3)
    shared.model.layers[2].mlp.down_proj.weight = shared.model.layers[0].mlp.down_proj.weight
    loaded = load_model(shared)
    with pytest.raises(ModelError, match=r"layers\.0 shares weights.*mode identity"):
        Ablation(loaded, "zero")
    Ablation(loaded, "zero", "attention")
    Ablation(loaded)
    quantised = tiny_llama(blocks=2)
    weight = quantised.model.layers[1].self_attn.o_proj
    weight.weight = nn.Parameter(weight.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"layers\.1 has weights that are quantised"):
        Ablation(load_model(quantised), "zero")

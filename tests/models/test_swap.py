"""Swapping blocks: what a deep copy with the other's blocks computes, and every bit back after."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.parts import parts_of
from cruxlm.models.swap import (
    changed_blocks,
    check_pair,
    has_adapters,
    only_adapters,
    swapped,
)
from cruxlm.runtime.errors import ModelError, OptionError
from models.architectures import BASE, Case, architectures, built

Swap = Callable[[], AbstractContextManager[None]]
TOKENS = torch.arange(3, 40).reshape(1, -1)


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def bits(module: nn.Module) -> dict[str, tuple[int, bytes, bool]]:
    """Place, bytes and training flag of every tensor, under all of its names."""
    held = [*module.named_parameters(remove_duplicate=False)]
    held += module.named_buffers(remove_duplicate=False)
    return {
        name: (t.data_ptr(), t.detach().clone().numpy().tobytes(), t.requires_grad)
        for name, t in held
    }


def switches(module: nn.Module) -> list[Any]:
    return [vars(part).get("_disable_adapters") for part in module.modules()]


def llama(seed: int, **options: Any) -> LoadedModel:
    """A Llama whose head is its table of embeddings."""
    torch.manual_seed(seed)
    wide = {**BASE, "num_hidden_layers": 4, "initializer_range": 0.25, "tie_word_embeddings": True}
    config = transformers.LlamaConfig(**{**wide, **options})
    return load_model(transformers.LlamaForCausalLM(config).eval())


def adapted(seed: int = 0, **options: Any) -> LoadedModel:
    """A Llama with adapters that do something in blocks 1 and 3."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    settings = {"r": 2, "layers_to_transform": [1, 3], "target_modules": ["q_proj", "down_proj"]}
    module = get_peft_model(llama(0).module, LoraConfig(**{**settings, **options}))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)
    return load_model(module.eval())


# A swap is what a copy with the other's blocks is.


@pytest.mark.parametrize("blocks", [(0,), (3,), (1, 2), (0, 1, 2, 3)])
def test_a_swap_is_a_copy_with_the_others_blocks(blocks: tuple[int, ...]) -> None:
    model, other = llama(0), llama(1)
    oracle = copy.deepcopy(model.module)
    for block in blocks:
        oracle.model.layers[block].load_state_dict(other.module.model.layers[block].state_dict())
    before, theirs, whole = bits(model.module), bits(other.module), logits(model.module)
    with swapped(model, other, blocks):
        assert torch.equal(logits(model.module), logits(oracle))
        swaps = bits(model.module)
    assert not torch.equal(logits(oracle), whole)
    assert bits(model.module) == before
    assert bits(other.module) == theirs
    assert torch.equal(logits(model.module), whole)
    # Nothing was copied: the blocks were the reference's own memory, and all else its own.
    for name, (place, _, _) in swaps.items():
        inside = any(name.startswith(f"model.layers.{block}.") for block in blocks)
        assert place == (theirs if inside else before)[name][0]


@architectures
def test_there_and_back_on_every_architecture(case: Case) -> None:
    model = load_model(copy.deepcopy(built(case)))
    reference = load_model(copy.deepcopy(model.module))
    with torch.no_grad():
        for parameter in reference.blocks.modules[1].parameters():
            parameter.add_(0.5)
    assert changed_blocks(model, reference) == (1,)
    before, theirs = bits(model.module), bits(reference.module)
    with swapped(model, reference, [1]):
        assert changed_blocks(model, reference) == ()
        for name, tensor in model.module.named_parameters(remove_duplicate=False):
            assert tensor.detach().numpy().tobytes() == theirs[name][1]
    assert bits(model.module) == before
    assert bits(reference.module) == theirs


def test_a_sharded_checkpoint_is_swapped(tmp_path: Path) -> None:
    model, other = llama(0), llama(1)
    other.module.save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    sharded = load_model(tmp_path)
    check_pair(model, sharded)
    with swapped(model, other, [1, 2]):
        expected = logits(model.module)
    with swapped(model, sharded, [1, 2]):
        assert torch.equal(logits(model.module), expected)


def test_buffers_go_with_a_block() -> None:
    model, other = llama(0), llama(0)
    for held, value in ((model, 1.0), (other, 2.0)):
        held.blocks.modules[1].register_buffer("table", torch.full((3,), value))
    with swapped(model, other, [1]):
        assert torch.equal(model.blocks.modules[1].table, torch.full((3,), 2.0))
    assert torch.equal(model.blocks.modules[1].table, torch.ones(3))
    assert changed_blocks(model, other) == (1,)


def test_a_reference_in_another_dtype_is_put_in_as_this_models() -> None:
    model, other = llama(0), llama(1)
    other.module.bfloat16()
    before = bits(model.module)
    with swapped(model, other, [2]):
        weight = model.blocks.modules[2].mlp.up_proj.weight
        assert weight.dtype == torch.float32
        assert torch.equal(weight, other.blocks.modules[2].mlp.up_proj.weight.float())
    assert bits(model.module) == before


# Back again, whatever ends it.


def swaps() -> dict[str, tuple[LoadedModel, Swap]]:
    tied, lora = llama(0), adapted()
    return {
        "tied": (tied, partial(swapped, tied, llama(1), [0, 2])),
        "lora": (lora, partial(swapped, lora, None, [1])),
        "only": (lora, partial(only_adapters, lora, [3])),
    }


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["tied", "lora", "only"])
def test_every_bit_is_back(kind: str, error: type[BaseException] | None) -> None:
    model, swap = swaps()[kind]
    before, off, whole = bits(model.module), switches(model.module), logits(model.module)

    def use() -> None:
        with swap():
            assert not torch.equal(logits(model.module), whole)
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert bits(model.module) == before
    assert switches(model.module) == off
    assert torch.equal(logits(model.module), whole)


def test_tied_embeddings_stay_the_tuned_ones() -> None:
    model, other = llama(0), llama(1)
    table = model.module.get_input_embeddings().weight
    with swapped(model, other, range(4)):
        assert model.module.lm_head.weight is table
        assert table.data_ptr() == model.module.lm_head.weight.data_ptr()
        hybrid = logits(model.module)
    assert not torch.equal(hybrid, logits(other.module))


# Adapters.


def test_an_adapter_off_is_the_block_without_it() -> None:
    model, base = adapted(), llama(0)
    assert has_adapters(model)
    assert not has_adapters(base)
    assert changed_blocks(model, None) == (1, 3)
    with only_adapters(model, ()):
        assert torch.equal(logits(model.module), logits(base.module))
    with swapped(model, None, [1, 3]):
        assert torch.equal(logits(model.module), logits(base.module))
    with swapped(model, None, [0, 2]):  # there are none
        whole = logits(model.module)
    assert torch.equal(whole, logits(model.module))
    with swapped(model, None, [1]):
        without = logits(model.module)
    with only_adapters(model, [3]):
        assert torch.equal(logits(model.module), without)
    with only_adapters(model, ()), only_adapters(model, [1]):
        nested = logits(model.module)
    with swapped(model, None, [3]):
        assert torch.equal(logits(model.module), nested)


def test_whole_copies_of_modules_are_adapters_too() -> None:
    model = adapted(modules_to_save=["lm_head"])
    with torch.no_grad():
        model.module.base_model.model.lm_head.modules_to_save.default.weight.add_(0.3)
    with only_adapters(model, ()):
        assert torch.equal(logits(model.module), logits(llama(0).module))
    with only_adapters(model, [1, 3]):  # the head is in no block
        assert not torch.equal(logits(model.module), logits(llama(0).module))


def test_adapters_that_cannot_be_left_out_are_refused() -> None:
    merged, biased = adapted(), adapted(bias="all")
    merged.module.merge_adapter()
    for model, said in ((merged, "are merged into it"), (biased, "biases of the model's own")):
        for swap in (partial(swapped, model, None, [1]), partial(only_adapters, model, [])):
            with pytest.raises(ModelError, match=said), swap():
                pass
    with pytest.raises(ModelError, match="has no adapters"), swapped(llama(0), None, [1]):
        pass


# What is refused.


@pytest.mark.parametrize("block", [-1, 4])
def test_there_is_no_such_block(block: int) -> None:
    model = llama(0)
    for swap in (partial(swapped, model, llama(1)), partial(only_adapters, adapted())):
        with pytest.raises(OptionError, match=f"no block {block}: the model has blocks 0 to 3"):
            swap([block]).__enter__()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_hidden_layers": 3}, "4 blocks and 3"),
        (
            {"intermediate_size": 48},
            r"gate_proj\.weight has shape \(32, 16\) in one and \(48, 16\) in the other",
        ),
        ({"attention_bias": True}, r"only .* has model\.layers\.0\.self_attn\.q_proj\.bias"),
        ({"vocab_size": 77}, r"embed_tokens\.weight has shape \(61, 16\) in one and \(77, 16\)"),
    ],
    ids=["depth", "width", "bias", "vocabulary"],
)
def test_other_architectures_are_refused(options: dict[str, Any], said: str) -> None:
    model, other = llama(0), llama(0, **options)
    before = bits(model.module)
    with pytest.raises(ModelError, match=said):
        check_pair(model, other)
    if "vocab_size" not in options and "num_hidden_layers" not in options:
        with pytest.raises(ModelError, match=said), swapped(model, other, [0]):
            pass
    assert bits(model.module) == before


def test_tied_blocks_are_refused() -> None:
    model, other = llama(0), llama(1)
    shared = model.blocks.modules[0].mlp.up_proj
    model.blocks.modules[2].mlp.up_proj.weight = shared.weight
    before = bits(model.module)
    with (
        pytest.raises(ModelError, match=r"layers\.2\.mlp\.up_proj\.weight is model\.layers\.0"),
        swapped(model, other, [2]),
    ):
        pass
    assert bits(model.module) == before


def test_what_blocks_share_and_both_models_have_does_no_harm() -> None:
    model, other = llama(0), llama(1)
    for held in (model, other):
        table = torch.ones(3)
        for block in held.blocks.modules:
            block.register_buffer("table", table)
    with swapped(model, other, [2]):
        pass
    other.blocks.modules[2].table = torch.zeros(3)
    with pytest.raises(ModelError, match=r"table is .*table too"), swapped(model, other, [2]):
        pass


def test_weights_that_are_not_there_are_refused() -> None:
    model, other = llama(0), llama(1)
    other.module.model.layers[1].to("meta")
    with pytest.raises(ModelError, match="is not in memory"), swapped(model, other, [1]):
        pass
    weight = model.blocks.modules[0].mlp.up_proj.weight.data.to(torch.int8)
    model.blocks.modules[0].mlp.up_proj.weight = nn.Parameter(weight, requires_grad=False)
    with pytest.raises(ModelError, match=r"quantised \(torch\.int8\)"), swapped(model, other, [0]):
        pass


def test_a_model_that_is_its_reference_has_nothing_to_verify() -> None:
    with pytest.raises(ModelError, match=r"has the weights of .*: there is nothing to verify"):
        check_pair(llama(0), llama(0))
    check_pair(llama(0), llama(1))
    check_pair(adapted(), None)
    check_pair(adapted(), llama(0))
    idle = adapted()
    with torch.no_grad():
        for name, parameter in idle.module.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    for reference in (None, llama(0)):
        with pytest.raises(ModelError, match="there is nothing to verify"):
            check_pair(idle, reference)
    with pytest.raises(ModelError, match="were not trained on"):
        check_pair(adapted(), llama(1))
    with pytest.raises(ModelError, match="has adapters: load it without them"):
        check_pair(llama(0), adapted())
    with pytest.raises(ModelError, match="has no adapters"):
        check_pair(llama(0), None)


def test_other_tokenizers_are_refused() -> None:
    one, two = byte_tokenizer(), byte_tokenizer()
    models = [
        load_model(tiny_llama(blocks=2, seed=seed), tokenizer=held)
        for seed, held in enumerate((one, two))
    ]
    check_pair(*models)
    two.add_tokens(["<new>"])
    with pytest.raises(ModelError, match="'<new>' is token None in one and 258 in the other"):
        check_pair(*models)
    check_pair(models[0], load_model(tiny_llama(blocks=2, seed=1)))


# What is around the blocks.


def untied(seed: int) -> LoadedModel:
    return llama(seed, tie_word_embeddings=False)


@pytest.mark.parametrize("parts", [("embeddings",), ("norm", "head"), ("embeddings", "norm")])
def test_parts_are_those_of_a_copy(parts: tuple[str, ...]) -> None:
    model, other = untied(0), untied(1)
    with torch.no_grad():  # fresh norms are all ones
        other.module.model.norm.weight.mul_(1.5)
    oracle = copy.deepcopy(model.module)
    owners = {"embeddings": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    for part in parts:
        theirs = other.module.get_submodule(owners[part]).state_dict()
        oracle.get_submodule(owners[part]).load_state_dict(theirs)
    before, whole = bits(model.module), logits(model.module)
    with swapped(model, other, [], parts):
        assert torch.equal(logits(model.module), logits(oracle))
    assert not torch.equal(logits(oracle), whole)
    assert bits(model.module) == before


def test_all_parts_and_blocks_are_the_other_model() -> None:
    for model, other, parts in (
        (untied(0), untied(1), ("embeddings", "norm", "head")),
        (llama(0), llama(1), ("embeddings", "norm")),  # the head goes along
    ):
        before = bits(model.module)
        with swapped(model, other, range(4), parts):
            assert torch.equal(logits(model.module), logits(other.module))
        assert bits(model.module) == before


@architectures
def test_embeddings_there_and_back_on_every_architecture(case: Case) -> None:
    model = load_model(copy.deepcopy(built(case)))
    reference = load_model(copy.deepcopy(model.module))
    names = parts_of(model).embeddings
    with torch.no_grad():
        for name, parameter in reference.module.named_parameters():
            if name in names:
                parameter.add_(0.5)
    before = bits(model.module)
    with swapped(model, reference, [], ["embeddings"]):
        held = dict(model.module.named_parameters())
        for name, parameter in reference.module.named_parameters():
            assert torch.equal(held[name], parameter)
    assert bits(model.module) == before


def test_adapters_outside_of_the_blocks_are_off_with_their_part() -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head"])
    module = get_peft_model(untied(0).module, config)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(0.3)
    model, base = load_model(module.eval()), untied(0)
    whole = logits(model.module)
    with swapped(model, None, range(4), ("embeddings", "head")):
        assert torch.equal(logits(model.module), logits(base.module))
    with swapped(model, None, range(4), ("embeddings",)):
        assert not torch.equal(logits(model.module), logits(base.module))
    assert torch.equal(logits(model.module), whole)


def test_parts_that_cannot_be_swapped_are_refused() -> None:
    for model, other, part, said in (
        (llama(0), llama(1), "head", "the head of .* is its embeddings: name these as well"),
        (untied(0), untied(1), "heads", "there is no part 'heads': did you mean 'head'"),
    ):
        with pytest.raises(OptionError, match=said), swapped(model, other, [], [part]):
            pass
    with (
        pytest.raises(ModelError, match=r"only .* has lm_head\.weight"),
        swapped(llama(0), untied(1), [], ["embeddings"]),
    ):
        pass

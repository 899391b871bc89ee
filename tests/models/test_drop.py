"""Blocks dropped: the model, live and read back from disk, is the one with them taken away."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models import drop as dropping
from cruxlm.models.drop import drop, dropped, shorter
from cruxlm.models.load import load_model, quiet_transformers
from cruxlm.models.patch import first_tensor
from cruxlm.runtime.errors import ModelError, OptionError
from models.ablated import PROMPT, output
from models.architectures import MODERN, Case, architectures, built, count_hooks
from plans.twelve import made

NO_ATTENTION = "its cache needs an attention block"
REFUSED: dict[str, tuple[int, str, str]] = {
    "T5ForConditionalGeneration": (0, "has_relative_attention_bias", "makes the bias of all"),
    "LongT5EncoderModel": (0, "has_relative_attention_bias", "makes the bias of all"),
    "RwkvForCausalLM": (0, "pre_ln", "normalises the embeddings"),
    "ModernBertModel": (
        0,
        r"attn_norm" if MODERN else "global_attn_every_n_layers 3",
        "the first has no norm" if MODERN else "1, 2 are local and every third from 0 is not",
    ),
    "BambaForCausalLM": (1, "KV cache", NO_ATTENTION),
    "Qwen3NextForCausalLM": (1, "KV cache", NO_ATTENTION),
    "Lfm2ForCausalLM": (1, "KV cache", NO_ATTENTION),
    "ProphetNetForConditionalGeneration": (1, "KV cache", "caches as many layers as it encodes by"),
}
"""Architectures with a block that cannot be dropped: the block, what is said of it, and why."""
if MODERN:
    REFUSED["JambaForCausalLM"] = (1, "KV cache", NO_ATTENTION)
NEVER = ("ProphetNetForConditionalGeneration",)
"""Those that can drop none."""


def passing_on(block: nn.Module) -> Any:
    """The oracle: a plain hook by which a block returns what it was given."""

    def hook(_module: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
        states = first_tensor(args) if args else kwargs["hidden_states"]
        return (states, *result[1:]) if isinstance(result, tuple) else states

    return block.register_forward_hook(hook, with_kwargs=True)


def written(model: Any) -> Tensor | None:
    """What a model writes with a KV cache, or None where it needs more than tokens to write."""
    if not model.can_generate() or getattr(model.config, "is_encoder_decoder", False):
        return None
    ids = torch.tensor([PROMPT])
    with quiet_transformers():
        found: Tensor = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, min_new_tokens=6,
            do_sample=False, use_cache=True,
        )  # fmt: skip
    return found[0, len(PROMPT) :]


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def state_of(model: Any) -> tuple[Any, ...]:
    attributes = {
        (path, name): value
        for path, part in model.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, (int, str, list))
    }
    config = copy.deepcopy(vars(model.config))
    return attributes, config, [id(part) for part in model.modules()], list(model.state_dict())


@architectures
def test_a_model_without_a_block_is_the_one_with_it_taken_away(case: Case, tmp_path: Path) -> None:
    if case.model in NEVER:
        pytest.skip(REFUSED[case.model][2])
    model: Any = built(case)
    loaded, whole, before = load_model(model), output(case, model), state_of(model)
    block = 2 if REFUSED.get(case.model, (0,))[0] == 1 else 1
    handle = passing_on(loaded.blocks.modules[block])
    taken_away, text = output(case, model), written(model)
    handle.remove()
    assert (taken_away - whole).abs().max() > 1e-3
    with dropped(loaded, [block]) as smaller:
        assert len(smaller.blocks.modules) == len(loaded.blocks.modules) - 1
        assert torch.equal(output(case, model), taken_away)
        with quiet_transformers():
            model.save_pretrained(tmp_path)
        read = load_model(tmp_path, dtype="float32", device="cpu")
    assert type(read.module) is type(model)
    assert torch.equal(output(case, read.module), taken_away)
    assert same(written(read.module), text)
    assert state_of(model) == before
    assert count_hooks(model) == 0
    assert torch.equal(output(case, model), whole)


@pytest.mark.parametrize("name", REFUSED)
def test_a_block_that_cannot_be_dropped_is_named(name: str) -> None:
    case = next(case for case in architectures.args[1] if case.model == name)
    model: Any = built(case)
    before, (block, said, _) = state_of(model), REFUSED[name]
    with (
        pytest.raises(ModelError, match=f"cannot drop block {block}: .*{said}"),
        dropped(load_model(model), [block]),
    ):
        pass
    assert state_of(model) == before


TIED = ("gpt2", "gemma")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "qwen3_moe", "gemma", "deepseek"])
def test_several_blocks_go_at_once_and_heads_stay_tied(kind: str, tmp_path: Path) -> None:
    model = made(kind)
    loaded, gone = load_model(model), [0, 1, 4, 10]
    handles = [passing_on(loaded.blocks.modules[block]) for block in gone]
    with torch.no_grad():
        taken_away = model(torch.tensor([PROMPT])).logits
    for handle in handles:
        handle.remove()
    kept = [part for place, part in enumerate(loaded.blocks.modules) if place not in gone]
    small = drop(loaded, gone)
    assert small.module is model  # in place, for good
    assert list(small.blocks.modules) == kept
    assert small.identity != loaded.identity
    model.save_pretrained(tmp_path)
    read = load_model(tmp_path, dtype="float32", device="cpu")
    for held in (model, read.module):
        assert model.config.num_hidden_layers == 8
        with torch.no_grad():
            assert torch.equal(held(torch.tensor([PROMPT])).logits, taken_away)  # type: ignore[operator]
        tied = held.get_output_embeddings().weight is held.get_input_embeddings().weight  # type: ignore[operator]
        assert tied == (kind in TIED)
    for place, block in enumerate(small.blocks.modules):
        numbers = [part.layer_idx for part in block.modules() if hasattr(part, "layer_idx")]
        assert set(numbers) == {place}


def test_a_sparse_step_is_written_out() -> None:
    # Blocks 1, 3, 5 have experts; without 0 and 3 those of new numbers 0 and 3 have them.
    model = made("qwen3_moe", num_hidden_layers=6, decoder_sparse_step=2)
    drop(load_model(model), [0, 3])
    assert model.config.decoder_sparse_step == 1
    assert model.config.mlp_only_layers == [1, 2]
    sparse = ["Sparse" in type(block.mlp).__name__ for block in model.model.layers]
    assert sparse == [True, False, False, True]


def test_what_goes_by_a_blocks_number_is_refused() -> None:
    model = made("gpt2", scale_attn_by_inverse_layer_idx=True)
    with (
        pytest.raises(ModelError, match=r"cannot drop block 3: .*scale_attn_by_inverse_layer_idx"),
        dropped(load_model(model), [3]),
    ):
        pass
    assert model.config.n_layer == 12
    drop(load_model(model), [11])  # all others keep their numbers


def test_blocks_that_a_configuration_makes_otherwise_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A control: with lists that are cut at the end in place of picked, kinds would be mixed up."""
    config = transformers.Gemma2Config(
        vocab_size=61, hidden_size=16, intermediate_size=32, num_hidden_layers=4, head_dim=4,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    model = transformers.Gemma2ForCausalLM(config).eval()

    def cut(config: Any, kept: Any, _depth: int) -> None:
        config.layer_types = config.layer_types[: len(kept)]
        config.num_hidden_layers = len(kept)

    with dropped(load_model(model), [0]):
        kinds = [kind.partition("_")[0] for kind in model.config.layer_types]
        assert kinds == ["full", "sliding", "full"]
    monkeypatch.setattr(dropping, "shorten", cut)
    with pytest.raises(ModelError, match=r"block 1 would be of another make .*sliding"):
        shorter(load_model(model), [0])


def test_a_drop_that_goes_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: of another block than was asked for."""
    model = tiny_llama(blocks=3)
    before, loaded = state_of(model), load_model(model)
    real = dropping.shorter
    monkeypatch.setattr(dropping, "shorter", lambda model, _blocks: real(model, [1]))
    with pytest.raises(ModelError, match="not what it is with them taken away"):
        drop(loaded, [0])
    assert state_of(model) == before


def test_a_cache_that_goes_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: blocks that share a number overwrite each other's keys."""
    model = tiny_llama(blocks=3)
    loaded, real = load_model(model), dropping._attributes

    def shared(*given: Any) -> Any:
        return tuple((part, name, 0) for part, name, _ in real(*given))

    with dropped(loaded, [0]):
        assert [block.self_attn.layer_idx for block in model.model.layers] == [0, 1]
    monkeypatch.setattr(dropping, "_attributes", shared)
    with pytest.raises(ModelError, match="KV cache"):
        drop(loaded, [0])
    assert [block.self_attn.layer_idx for block in model.model.layers] == [0, 1, 2]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_as_before_whatever_happens(error: type[BaseException]) -> None:
    model = tiny_llama(blocks=4)
    model.train()
    model.generation_config.cache_config = {"made": "for four"}
    model.config.architectures = None
    before, tokens = state_of(model), torch.tensor([PROMPT])
    held = {name: (p.data_ptr(), p.clone()) for name, p in model.named_parameters()}
    whole = model(tokens).logits

    def run() -> None:
        with dropped(load_model(model), [1, 2]):
            assert model.generation_config.cache_config is None
            assert all(part.training for part in model.modules())
            assert len(model.model.layers) == 2
            model.config.architectures = ["LlamaForCausalLM"]  # as saving does
            raise error

    with pytest.raises(error):
        run()
    assert state_of(model) == before
    assert model.generation_config.cache_config == {"made": "for four"}
    assert torch.equal(model(tokens).logits, whole)
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() == held[name][0]
        assert torch.equal(parameter, held[name][1])


def test_a_dropped_model_learns() -> None:
    model = tiny_llama(blocks=4)
    drop(load_model(model), [1, 3])
    ids = torch.tensor([PROMPT])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[2] < losses[0]


def test_what_makes_no_sense_is_refused() -> None:
    loaded = load_model(tiny_llama(blocks=2))
    for blocks, said in (([2], "no block 2"), ([0, 1], "all blocks"), ([], "no blocks")):
        with pytest.raises(OptionError, match=said):
            shorter(loaded, blocks)
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        tiny_llama(blocks=2), peft.LoraConfig(target_modules=["q_proj"], r=2)
    )
    with pytest.raises(ModelError, match="merge them"):
        shorter(load_model(adapted), [0])
    with torch.device("meta"):
        empty = tiny_llama(blocks=2)
    with pytest.raises(ModelError, match="not wholly in memory"):
        shorter(load_model(empty), [0])

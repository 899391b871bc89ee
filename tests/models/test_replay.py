"""Replay: bit for bit what whole passes are, on every architecture, or whole passes.

The oracle is the model without any replay, called as its users call it.
"""

import inspect
import shutil
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.batches import Batch, batches
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.patch import Patch
from cruxlm.models.replay import Replay
from cruxlm.runtime.errors import ModelError
from models.architectures import (
    REFUSED,
    Case,
    architectures,
    built,
    count_hooks,
    made_prompts,
    pad_token_of,
)

CARRY = ("T5ForConditionalGeneration", "LongT5EncoderModel")
"""Their first block makes the position bias of all, so they are run whole."""


def batch_of(rows: list[list[int]], pad: int = 0) -> Batch:
    made = batches(rows, [[0]] * len(rows), pooling="last", batch_size=len(rows), pad_token=pad)
    return next(made)


def inputs_of(case: Case, model: nn.Module, rows: list[list[int]]) -> dict[str, Any]:
    """What the whole model is called with, without a cache."""
    inputs = tower_inputs(batch_of(rows, pad_token_of(model)), model)
    own = {name: value.expand(len(rows), -1) for name, value in case.inputs.items()}
    return {**inputs, **own}


def result(model: nn.Module, **inputs: Any) -> Tensor:
    with torch.no_grad():
        output = model(**inputs)
    return output if isinstance(output, Tensor) else output[0]


def fills_a_cache(model: LoadedModel, inputs: dict[str, Any]) -> bool:
    """Whether a head calls its tower without a word of the cache, which is then filled."""
    tower = model.blocks.tower
    knows = "use_cache" in inspect.signature(tower.forward).parameters
    return knows and "use_cache" not in inputs


class Ran:
    """The blocks that did some work: they called one of their modules."""

    def __init__(self, model: LoadedModel) -> None:
        self.blocks: set[int] = set()
        self.handles = [
            child.register_forward_pre_hook(lambda *_, index=index: self.blocks.add(index))
            for index, block in enumerate(model.blocks.modules)
            for child in block.modules()
            if child is not block
        ]

    def __enter__(self) -> set[int]:
        return self.blocks

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


@architectures
def test_every_pass_is_what_it_is_as_a_whole(case: Case) -> None:
    model = load_model(built(case))
    depth = len(model.blocks.modules)
    rows = made_prompts()
    calls = [inputs_of(case, model.module, part) for part in (rows[:4], rows[4:])]
    wholes = [result(model.module, **inputs) for inputs in calls]
    replays = [Replay(model), Replay(model, memory=0)]
    for replay in replays:
        assert replay.blocks == (() if case.model in CARRY else tuple(range(1, depth)))
        with replay.recording():
            for inputs, whole in zip(calls, wholes, strict=True):
                assert torch.equal(result(model.module, **inputs), whole)
    for block in range(depth):
        begun = block if replays[0].blocks and not fills_a_cache(model, calls[0]) else 0
        with Patch() as patch:  # a change in the block
            patch.skip(model.blocks.modules[block])
            changed = [result(model.module, **inputs) for inputs in calls]
            assert not any(torch.equal(*pair) for pair in zip(changed, wholes, strict=True))
            for replay in replays:
                with Ran(model) as ran, replay.from_block(block):
                    for inputs, one in zip(calls, changed, strict=True):
                        assert torch.equal(result(model.module, **inputs), one)
                assert ran == set(range(begun, depth))
    for inputs, whole in zip(calls, wholes, strict=True):
        assert torch.equal(result(model.module, **inputs), whole)


# One model, and what must not be replayed.


@pytest.fixture
def model() -> LoadedModel:
    return load_model(tiny_llama(blocks=5))


@pytest.fixture
def recorded(model: LoadedModel) -> Replay:
    replay = Replay(model)
    with replay.recording():
        result(model.module, input_ids=TOKENS, use_cache=False)
    return replay


def ran(model: LoadedModel, replay: Replay, block: int = 3, **inputs: Any) -> set[int]:
    """The blocks that work in a pass, which is checked against the whole one."""
    whole = result(model.module, **inputs)
    with Ran(model) as blocks, replay.from_block(block):
        assert torch.equal(result(model.module, **inputs), whole)
    return blocks


ALL = set(range(5))
TOKENS = torch.arange(3, 33).reshape(2, 15)


def test_only_what_was_recorded_is_replayed(model: LoadedModel, recorded: Replay) -> None:
    assert ran(model, recorded, input_ids=TOKENS, use_cache=False) == {3, 4}
    assert ran(model, recorded, 0, input_ids=TOKENS, use_cache=False) == ALL
    assert ran(model, recorded, input_ids=TOKENS + 1, use_cache=False) == ALL
    assert ran(model, recorded, input_ids=TOKENS[:1], use_cache=False) == ALL
    mask = torch.ones_like(TOKENS)
    assert ran(model, recorded, input_ids=TOKENS, attention_mask=mask, use_cache=False) == ALL
    places = torch.arange(15)[None] + 2
    assert ran(model, recorded, input_ids=TOKENS, position_ids=places, use_cache=False) == ALL


def test_a_pass_with_a_kv_cache_is_run_whole(model: LoadedModel, recorded: Replay) -> None:
    for use_cache in (True, None):
        assert ran(model, recorded, input_ids=TOKENS, use_cache=use_cache) == ALL
    with recorded.from_block(3):
        assert model.module(TOKENS).past_key_values.get_seq_length() == 15
    settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    for use_cache in (True, False):
        whole = model.module.generate(TOKENS, use_cache=use_cache, **settings)
        with recorded.recording():
            model.module.generate(TOKENS, use_cache=use_cache, **settings)
        with recorded.from_block(3):
            again = model.module.generate(TOKENS, use_cache=use_cache, **settings)
        assert torch.equal(again, whole)


def test_states_of_all_blocks_are_asked_of_all_blocks(model: LoadedModel, recorded: Replay) -> None:
    inputs = {"input_ids": TOKENS, "use_cache": False, "output_hidden_states": True}
    whole = model.module(**inputs).hidden_states
    with Ran(model) as blocks, recorded.from_block(3):
        again = model.module(**inputs).hidden_states
    assert blocks == ALL
    assert all(torch.equal(*pair) for pair in zip(whole, again, strict=True))


def test_dropout_is_not_replayed(model: LoadedModel, recorded: Replay) -> None:
    model.module.train()
    assert ran(model, recorded, input_ids=TOKENS, use_cache=False) == ALL


def test_what_is_more_than_the_memory_goes_to_a_file(model: LoadedModel, tmp_path: Any) -> None:
    each = 4 * TOKENS.numel() * 32 * 4  # states of a pass, before four blocks
    replay = Replay(model, memory=2 * each, folder=tmp_path)
    passes = [TOKENS + number for number in range(5)]
    with replay.recording():
        for tokens in passes:
            result(model.module, input_ids=tokens, use_cache=False)
    assert replay._store.left < each
    assert replay._store.file is not None
    assert replay._store.file.seek(0, 2) == 3 * each
    assert list(tmp_path.iterdir()) == []  # it has no name, so a kill leaves none
    for tokens in [*passes, *reversed(passes)]:
        assert ran(model, replay, 2, input_ids=tokens, use_cache=False) == {2, 3, 4}


def test_without_room_passes_are_run_whole(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = Replay(model, memory=1 << 13)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1000))
    with replay.recording():
        result(model.module, input_ids=TOKENS, use_cache=False)
    assert ran(model, replay, input_ids=TOKENS, use_cache=False) == ALL


def test_states_are_no_ones_elses(model: LoadedModel, recorded: Replay) -> None:
    """A block that writes into its input does not spoil the next replay."""
    with Patch() as patch:
        patch.watch_input(model.blocks.modules[3], lambda states: states.mul_(2))
        for _ in range(2):
            assert ran(model, recorded, input_ids=TOKENS, use_cache=False) == {3, 4}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(
    error: type[BaseException], model: LoadedModel, recorded: Replay
) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise error

    whole = result(model.module, input_ids=TOKENS, use_cache=False)
    for context in (recorded.recording, partial(recorded.from_block, 3)):
        with Patch() as patch:
            patch.replace_forward(model.blocks.modules[4].mlp, fail)
            with pytest.raises(error), context():
                result(model.module, input_ids=TOKENS, use_cache=False)
    assert not count_hooks(model.module)
    assert not any("forward" in vars(part) for part in model.module.modules())
    assert torch.equal(result(model.module, input_ids=TOKENS, use_cache=False), whole)
    assert ran(model, recorded, input_ids=TOKENS, use_cache=False) == {3, 4}


def test_a_block_that_reads_more_than_states_is_begun_below() -> None:
    """Block 1 hands block 3 something in secret: from 2 and 3 on the model is another."""
    model = load_model(tiny_llama(blocks=6))
    shelf: list[Tensor] = []
    first, third = (model.blocks.modules[block].mlp for block in (1, 3))
    first.register_forward_hook(lambda _module, _args, output: shelf.append(output))
    third.register_forward_hook(lambda _module, _args, output: output + shelf.pop())
    replay = Replay(model)
    assert replay.blocks == (1, 4, 5)
    with replay.recording():
        result(model.module, input_ids=TOKENS, use_cache=False)
    begun = [ran(model, replay, b, input_ids=TOKENS, use_cache=False) for b in range(6)]
    assert [min(blocks) for blocks in begun] == [0, 1, 1, 1, 4, 5]


@pytest.mark.parametrize(("name", "config", "options"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_model_that_the_prefix_engine_refuses_is_run_whole(
    name: str, config: str, options: dict[str, Any]
) -> None:
    module = getattr(transformers, name)(getattr(transformers, config)(**options)).eval()
    try:
        model = load_model(module)
    except ModelError:
        return  # it is refused before
    replay = Replay(model)
    inputs = tower_inputs(batch_of([[3, 4, 5], [6, 7]]), model.module)
    whole = result(model.module, **inputs)
    with replay.recording():
        result(model.module, **inputs)
    for block in range(len(model.blocks.modules)):
        with replay.from_block(block):
            assert torch.equal(result(model.module, **inputs), whole)


def test_a_model_of_one_block_is_run_whole() -> None:
    model = load_model(tiny_llama(blocks=1))
    replay = Replay(model)
    assert replay.blocks == ()
    with replay.recording(), replay.from_block(0):
        result(model.module, input_ids=TOKENS, use_cache=False)

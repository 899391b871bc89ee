"""Capture: what is pooled, where a pass ends, and what is said of a model that does not fit."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.batches import Batch, batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.locate import BlockStack, find_blocks
from cruxlm.runtime.errors import ModelError

PROMPTS = [[1, 5, 6, 7], [1, 8], [1, 9, 10, 11, 12], [1, 13, 14]]


def _batches(pooling: Any = "last", batch_size: int = 2, padding: Any = "right") -> list[Batch]:
    positions = chosen_positions(
        [len(prompt) for prompt in PROMPTS], pooling, skip_first=[True] * 4, limit=1000, seed=0
    )
    return list(
        batches(PROMPTS, positions, pooling=pooling, batch_size=batch_size, padding=padding)
    )


def _captured(stack: BlockStack, made: list[Batch]) -> dict[int, Tensor]:
    """Prompt to its samples, (layers, samples, width), for pooling that gives each as many."""
    found: dict[int, Tensor] = {}

    def receive(batch: Batch, states: Tensor) -> None:
        for index, part in zip(
            batch.prompts, states.clone().split(_samples(batch), dim=1), strict=True
        ):
            found[index] = part

    capture(stack, made, receive)
    return found


def _samples(batch: Batch) -> list[int]:
    if batch.weights is not None:
        return [1] * len(batch.prompts)
    return torch.bincount(batch.rows, minlength=len(batch.prompts)).tolist()


def _hidden(model: Any, prompt: list[int]) -> Tensor:
    """What the model itself calls its states, but the last: (layers, tokens, width)."""
    with torch.no_grad():
        result = model(input_ids=torch.tensor([prompt]), output_hidden_states=True)
    return torch.cat(result.hidden_states[:-1])


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ("last", lambda states: states[:, -1:]),
        ("mean", lambda states: states[:, 1:].mean(1, keepdim=True)),
        ("all", lambda states: states[:, 1:]),
    ],
)
def test_pooled_states_are_those_of_the_chosen_tokens(
    pooling: str, pool: Callable[[Tensor], Tensor], padding: str
) -> None:
    stack = find_blocks(tiny_llama(blocks=3))
    found = _captured(stack, _batches(pooling, padding=padding))
    plain = tiny_llama(blocks=3)
    for index, prompt in enumerate(PROMPTS):
        expected = pool(_hidden(plain, prompt))
        torch.testing.assert_close(found[index][:-1], expected, atol=1e-5, rtol=1e-5)


def test_the_first_layer_is_the_embeddings() -> None:
    model = tiny_llama(blocks=2)
    found = _captured(find_blocks(model), _batches())
    for index, prompt in enumerate(PROMPTS):
        assert torch.equal(found[index][0, 0], model.model.embed_tokens.weight[prompt[-1]])


def test_the_pass_ends_after_the_last_block() -> None:
    model = tiny_llama(blocks=3)
    run: list[str] = []
    for name in ("model.layers.2", "model.norm", "lm_head"):
        # A pre-hook runs before the module whether or not the pass ends in it.
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: run.append(name))
    _captured(find_blocks(model), _batches())
    assert run == ["model.layers.2"] * 2  # once a batch


def test_every_batch_is_received_once_and_then_ticked() -> None:
    events: list[Any] = []

    def receive(batch: Batch, states: Tensor) -> None:
        events.append((batch.prompts, tuple(states.shape), states.dtype, states.requires_grad))

    model = tiny_llama(blocks=3).to(torch.bfloat16)
    capture(find_blocks(model), _batches(batch_size=3), receive, events.append)
    shapes = [((2, 0, 3), (4, 3, 32)), ((1,), (4, 1, 32))]
    assert [event[:2] for event in events[::2]] == shapes
    assert {event[2:] for event in events[::2]} == {(torch.float32, False)}
    assert events[1::2] == [3, 1]
    assert torch.is_grad_enabled()


def test_an_error_of_the_receiver_leaves_no_hook() -> None:
    def receive(_batch: Batch, _states: Tensor) -> None:
        raise KeyboardInterrupt

    model = tiny_llama(blocks=2).train()
    with pytest.raises(KeyboardInterrupt):
        capture(find_blocks(model), _batches(), receive)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(module.training for module in model.modules())


def test_dropout_is_off_while_it_runs() -> None:
    model = tiny_llama(blocks=2)
    for block in model.model.layers:
        block.self_attn.attention_dropout = 0.9
    expected = _captured(find_blocks(model), _batches())
    found = _captured(find_blocks(model.train()), _batches())
    assert all(torch.equal(found[index], expected[index]) for index in expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_states_that_are_not_finite_name_the_first_block(value: float) -> None:
    model = tiny_llama(blocks=4)
    model.model.layers[2].register_forward_hook(lambda _m, _a, output: output + value)
    with pytest.raises(ModelError, match=r"^block 2 \(model\.layers\.2\) .*--dtype float32$"):
        _captured(find_blocks(model), _batches())


def test_embeddings_that_are_not_finite_are_named() -> None:
    model = tiny_llama(blocks=2)
    with torch.no_grad():
        model.model.embed_tokens.weight[13:15] = torch.inf
    with pytest.raises(ModelError, match=r"^the embeddings give states that are not finite"):
        _captured(find_blocks(model), _batches())


class Live(nn.Module):
    """A model of one's own: no configuration, blocks that are run as ``order`` says."""

    def __init__(self, order: list[int], change: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.order, self.change = order, change
        self.given: list[dict[str, Any]] = []

    def forward(self, input_ids: Tensor) -> Tensor:
        states = self.change(self.embed(input_ids))
        for place in self.order:
            states = self.layers[place](states)
        return states


def test_a_live_module_needs_no_configuration() -> None:
    model = Live([0, 1, 2])
    found = _captured(find_blocks(model), _batches())
    for index, prompt in enumerate(PROMPTS):
        states = model.embed.weight[prompt[-1]]
        for layer, block in enumerate(model.layers):
            torch.testing.assert_close(found[index][layer, 0], states)
            states = block(states)
        torch.testing.assert_close(found[index][3, 0], states)


@pytest.mark.parametrize(
    ("order", "change", "said"),
    [
        ([0, 1], lambda x: x, "the last block layers.2 was never run"),
        ([0, 2], lambda x: x, r"layers are not run once each in turn \(block 1 was due\)"),
        ([0, 0, 1, 2], lambda x: x, r"not run once each in turn \(block 1 was due\)"),
        ([1, 1, 1, 2], lambda x: x, r"not run once each in turn \(block 0 was due\)"),
        (
            [0, 1, 2],
            lambda x: x[:, None],
            r"block 0 of layers .* shape \(2, 1, 5, 4\)",
        ),
        ([0, 1, 2], lambda x: x.transpose(0, 1), r"block 0 of layers .* shape \(5, 2, 4\)"),
        ([0, 1, 2], lambda x: x[:, 1:], r"block 0 of layers .* shape \(2, 4, 4\)"),
    ],
    ids=["no end", "left out", "repeated", "other", "streams", "time first", "shorter"],
)
def test_a_model_that_does_not_run_its_blocks_in_turn_is_refused(
    order: list[int], change: Callable[[Tensor], Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        _captured(find_blocks(Live(order, change)), _batches())
    assert "\n" not in str(caught.value)


class Recording(Live):
    """Keeps what it is given, and takes as much of it as its kind does."""

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool | None = None,
    ) -> Tensor:
        self.given.append(
            {"mask": attention_mask, "positions": position_ids, "use_cache": use_cache}
        )
        return super().forward(input_ids)


def test_positions_count_from_a_prompts_first_token() -> None:
    model = Recording([0, 1, 2])
    _captured(find_blocks(model), _batches(padding="left"))
    first, second = model.given
    assert first["mask"].tolist() == [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    assert first["positions"].tolist() == [[0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]
    assert second["positions"].tolist() == [[0, 1, 2], [0, 0, 1]]
    # Some models subtract the mask from one, which torch refuses for a bool.
    assert first["mask"].dtype == torch.long
    assert first["use_cache"] is False


def test_models_count_themselves_where_a_prompt_starts_at_the_first_column() -> None:
    # Not all count from 0: I-BERT and its kin start behind their padding index.
    model = Recording([0, 1, 2])
    _captured(find_blocks(model), _batches(padding="right"))
    assert [given["positions"] for given in model.given] == [None, None]


def test_a_model_that_takes_anything_is_not_given_positions() -> None:
    class Open(Live):
        def forward(self, input_ids: Tensor, **rest: Any) -> Tensor:
            self.given.append(rest)
            return super().forward(input_ids)

    model = Open([0, 1, 2])
    _captured(find_blocks(model), _batches(padding="left"))
    assert set(model.given[0]) == {"attention_mask"}


def test_prompts_go_to_the_device_of_the_embedding() -> None:
    model = Recording([0, 1, 2])
    model.config = SimpleNamespace(num_hidden_layers=3)
    model.get_input_embeddings = lambda: model.embed
    seen: list[torch.device] = []
    model.embed.register_forward_pre_hook(lambda _m, args: seen.append(args[0].device))
    _captured(find_blocks(model), _batches())
    assert set(seen) == {model.embed.weight.device}

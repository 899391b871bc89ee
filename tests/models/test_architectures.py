"""Blocks and their states on tiny random models of many architectures, against plain passes.

The oracle runs one prompt at a time, without padding, through the whole model as its users call
it, and keeps what plain hooks see on the list that is named here.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from cruxlm.models.batches import Batch, batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.locate import BlockStack, find_blocks
from cruxlm.runtime.errors import ModelError
from models.architectures import (
    CLOSE,
    LENGTHS,
    NOT_EXACT_LEFT,
    REFUSED,
    Case,
    architectures,
    built,
    count_hooks,
    made_prompts,
    pad_token_of,
)


def _last_states(stack: BlockStack, batch_size: int, padding: Any, pad_token: int) -> Tensor:
    """Captured states at the last token, as (layers, prompts, width) in the prompts' order."""
    prompts = made_prompts()
    positions = chosen_positions(
        LENGTHS, "last", skip_first=[False] * len(prompts), limit=0, seed=0
    )
    states: dict[int, Tensor] = {}

    def receive(batch: Batch, pooled: Tensor) -> None:
        # A copy, because the next batch is written over this one.
        states.update(zip(batch.prompts, pooled.clone().unbind(1), strict=True))

    made = batches(
        prompts,
        positions,
        pooling="last",
        batch_size=batch_size,
        padding=padding,
        pad_token=pad_token,
    )
    capture(stack, made, receive)
    return torch.stack([states[index] for index in range(len(prompts))], dim=1)


def _plain_states(case: Case, model: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The oracle: block outputs seen by hooks, and what the model itself calls hidden states."""
    # A copy, because transformers leaves hooks of its own for output_hidden_states.
    model = copy.deepcopy(model)
    blocks = model.get_submodule(case.path)
    assert isinstance(blocks, nn.ModuleList)
    seen: list[Tensor] = []

    def see(_module: nn.Module, _args: Any, output: Any) -> None:
        seen.append((output if isinstance(output, Tensor) else output[0])[0, -1])

    outputs, hidden = [], []
    for block in blocks:
        block.register_forward_hook(see)
    for prompt in made_prompts():
        seen.clear()
        with torch.no_grad():
            result = model(
                input_ids=torch.tensor([prompt]),
                output_hidden_states=True,
                **case.inputs,
            )
        outputs.append(torch.stack(seen))
        states = getattr(result, "hidden_states", None) or result.encoder_hidden_states
        hidden.append(torch.stack([layer[0, -1] for layer in states]))
    return torch.stack(outputs, 1), torch.stack(hidden, 1) if case.hidden else None


@architectures
def test_finds_the_blocks(case: Case) -> None:
    model = built(case)
    stack = find_blocks(model)
    assert stack.path == case.path
    assert stack.modules == tuple(model.get_submodule(case.path))
    assert all(
        model.get_submodule(name) is m for name, m in zip(stack.names, stack.modules, strict=True)
    )
    assert any(module is stack.modules[0] for module in stack.tower.modules())


@architectures
def test_states_are_what_the_blocks_give(case: Case) -> None:
    model = built(case)
    states = _last_states(find_blocks(model), 1, "right", pad_token_of(model))
    outputs, hidden = _plain_states(case, model)
    torch.testing.assert_close(states[1:], outputs, **CLOSE)
    if hidden is not None:
        # The last of the model's own is normalised, and so is no block's output.
        torch.testing.assert_close(states[:-1], hidden[:-1], **CLOSE)
    # What would hide a mistake: blocks that do nothing, prompts that are alike.
    assert (states[1:] - states[:-1]).abs().amax((1, 2)).min() > 1e-2
    assert torch.cdist(states[-1], states[-1]).fill_diagonal_(1).min() > 1e-2


@architectures
@pytest.mark.parametrize("padding", ["right", "left"])
def test_batches_and_padding_change_nothing(case: Case, padding: str) -> None:
    if padding == "left" and not case.left:
        pytest.skip(NOT_EXACT_LEFT)
    model = built(case)
    stack, pad = find_blocks(model), pad_token_of(model)
    torch.testing.assert_close(
        _last_states(stack, 4, padding, pad), _last_states(stack, 1, "right", pad), **CLOSE
    )


@contextmanager
def _breaking(module: nn.Module) -> Iterator[None]:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError

    module.forward = broken  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.forward


@architectures
@pytest.mark.parametrize("fails", [False, True], ids=["whole", "stopped"])
def test_leaves_the_model_as_it_was(case: Case, fails: bool) -> None:
    model = built(case)
    stack = find_blocks(model)
    # Some modules train and some do not, as when a user has frozen the dropout of a part.
    model.train()
    stack.modules[1].eval()
    modes = [module.training for module in model.modules()]
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = count_hooks(model)
    try:
        if fails:
            with _breaking(stack.modules[1]), pytest.raises(ZeroDivisionError):
                _last_states(stack, 4, "right", pad_token_of(model))
        else:
            _last_states(stack, 4, "right", pad_token_of(model))
        assert [module.training for module in model.modules()] == modes
    finally:
        model.eval()
    assert count_hooks(model) == hooks == 0
    after = model.state_dict()
    assert list(after) == list(tensors)
    assert all(torch.equal(after[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(("model", "config", "options"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_model_without_one_stream_through_whole_blocks_is_refused(
    model: str, config: str, options: dict[str, Any]
) -> None:
    built = getattr(transformers, model)(getattr(transformers, config)(**options)).eval()
    with pytest.raises(ModelError, match=r"no list of|not \(batch, tokens, width\)") as caught:
        _last_states(find_blocks(built), 4, "right", 0)
    assert "\n" not in str(caught.value)
    assert count_hooks(built) == 0

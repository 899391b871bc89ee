"""Running from a block on: bit for bit what the whole model does, or a refusal.

The oracle is the whole model, called as its users call it, and what plain hooks see in it.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from conftest import tiny_llama
from cruxlm.models.batches import Batch, batches
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.locate import BlockStack
from cruxlm.models.patch import Patch
from cruxlm.models.prefix import Prefix
from cruxlm.runtime.errors import ModelError, OptionError
from models.architectures import (
    BASE,
    CLOSE,
    LENGTHS,
    REFUSED,
    WINDOW,
    Case,
    architectures,
    built,
    count_hooks,
    made_prompts,
    pad_token_of,
)

SIDES = ("right", "left")
CARRY = ("T5ForConditionalGeneration", "LongT5EncoderModel")
"""Their first block makes the position bias of all."""


def batch_of(rows: list[list[int]], padding: Any = "right", pad: int = 0) -> Batch:
    made = batches(
        rows, [[0]] * len(rows), pooling="last", batch_size=len(rows), padding=padding,
        pad_token=pad,
    )  # fmt: skip
    return next(made)


def inputs_of(case: Case, model: nn.Module, batch: Batch) -> dict[str, Any]:
    """What the whole model is called with."""
    inputs = tower_inputs(batch, model)
    inputs.pop("use_cache", None)  # left to the model, as users do
    own = {name: value.expand(len(batch.tokens), -1) for name, value in case.inputs.items()}
    return {**inputs, **own}


def result(model: nn.Module, **inputs: Any) -> Tensor:
    """Logits, or the last states of a model without a head."""
    with torch.no_grad():
        output = model(**inputs)
    return output if isinstance(output, Tensor) else output[0]


def whole_states(model: LoadedModel, block: int, **inputs: Any) -> Tensor:
    """What enters a block in a plain pass."""
    seen: list[Tensor] = []

    def see(_module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = model.blocks.modules[block].register_forward_pre_hook(see, with_kwargs=True)
    result(model.module, **inputs)
    handle.remove()
    return seen[0]


def touched(model: nn.Module) -> list[str]:
    """Modules with a hook, or a forward pass that is not their class's."""
    return [
        name
        for name, module in model.named_modules()
        if "forward" in vars(module) or count_hooks(nn.ModuleList([module]))
    ]


@contextmanager
def working(model: LoadedModel) -> Iterator[set[int]]:
    """The blocks that do some work meanwhile: they call one of their modules."""
    ran: set[int] = set()
    handles = [
        child.register_forward_pre_hook(lambda *_, index=index: ran.add(index))
        for index, block in enumerate(model.blocks.modules)
        for child in block.modules()
        if child is not block
    ]
    yield ran
    for handle in handles:
        handle.remove()


# Every architecture.


@architectures
def test_from_every_block_on_a_model_is_what_it_is_as_a_whole(case: Case) -> None:
    model = load_model(built(case))
    before, depth = touched(model.module), len(model.blocks.modules)
    made = [batch_of(made_prompts(), side, pad_token_of(model.module)) for side in SIDES]
    calls = [inputs_of(case, model.module, batch) for batch in made]
    wholes = [result(model.module, **inputs) for inputs in calls]
    for block in range(1 if case.model in CARRY else depth):
        prefix = Prefix(model, block)
        for inputs, whole in zip(calls, wholes, strict=True):
            with working(model) as ran:
                states = prefix.capture(model.module, **inputs)
            assert ran == set(range(block))  # and the pass ends before the block
            assert torch.equal(states, whole_states(model, block, **inputs))
            given = states.clone()
            with working(model) as ran, prefix.from_states(given):
                assert torch.equal(result(model.module, **inputs), whole)
            assert ran == set(range(block, depth))
            assert torch.equal(given, states)
        with prefix.from_states(states.roll(1, dims=0)):  # those of other rows
            other = result(model.module, **inputs)
        assert (other - whole).abs().max() > 1e-3
        assert touched(model.module) == before == []
    assert torch.equal(result(model.module, **calls[0]), wholes[0])


@architectures
def test_states_of_rows_alone_serve_in_a_batch(case: Case) -> None:
    """With zeros for padding: nothing reads what is there."""
    model = load_model(built(case))
    pad = pad_token_of(model.module)
    rows = made_prompts()
    prefix = Prefix(model, 0 if case.model in CARRY else 1)
    alone = [
        prefix.capture(model.module, **inputs_of(case, model.module, batch_of([row], pad=pad)))[0]
        for row in rows
    ]
    for side in SIDES if case.left else SIDES[:1]:
        batch = batch_of(rows, side, pad)
        inputs = inputs_of(case, model.module, batch)
        whole = result(model.module, **inputs)
        states = alone[0].new_zeros((*batch.tokens.shape, alone[0].shape[-1]))
        for place, index in enumerate(batch.prompts):
            states[place][batch.mask[place]] = alone[index]
        with prefix.from_states(states):
            part = result(model.module, **inputs)
        if whole.shape[:2] == batch.mask.shape:
            whole, part = whole[batch.mask], part[batch.mask]
        torch.testing.assert_close(part, whole, **CLOSE)


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("name", CARRY)
def test_a_model_whose_blocks_hand_on_more_is_refused(name: str, block: int) -> None:
    options = {"vocab_size": 61, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_heads": 4}
    kind = "LongT5Config" if name.startswith("Long") else "T5Config"
    config = getattr(transformers, kind)(**options, num_layers=3)
    model = load_model(getattr(transformers, name)(config).eval())
    with pytest.raises(ModelError, match=f"cannot be run from block {block} on") as refused:
        Prefix(model, block)
    assert "its last_hidden_state differs from the whole model's" in str(refused.value)
    assert touched(model.module) == []
    Prefix(model, 0)


@pytest.mark.parametrize(("name", "config", "options"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_model_without_one_stream_through_whole_blocks_is_refused(
    name: str, config: str, options: dict[str, Any]
) -> None:
    module = getattr(transformers, name)(getattr(transformers, config)(**options)).eval()
    with pytest.raises(ModelError, match=r"no list of|not \(batch, tokens, width\)"):
        Prefix(load_model(module), 1)
    assert touched(module) == []


# Models with something that must not be lost.


def mistral(blocks: int = 5, **options: Any) -> LoadedModel:
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        **{**BASE, **WINDOW, "num_hidden_layers": blocks, "initializer_range": 0.25, **options}
    )
    return load_model(transformers.MistralForCausalLM(config).eval())


def test_a_window_is_seen_beyond_the_block() -> None:
    """With another window above, the same states give another result: masks are not cached."""
    model, wide = mistral(), mistral(sliding_window=None)
    inputs = tower_inputs(batch_of(made_prompts()), model.module)
    states = Prefix(model, 2).capture(model.module, **inputs)
    results = []
    for each in (model, wide):
        with Prefix(each, 2).from_states(states):
            results.append(result(each.module, **inputs))
    assert torch.equal(results[0], result(model.module, **inputs))
    assert (results[0] - results[1]).abs().max() > 1e-2
    assert max(LENGTHS) > 4


@pytest.mark.parametrize("block", [1, 4])
def test_positions_are_those_of_the_call(block: int) -> None:
    model = mistral()
    batch = batch_of(made_prompts())
    inputs = tower_inputs(batch, model.module)
    numbered = {**inputs, "position_ids": (batch.mask.cumsum(1) * 3).clamp(max=60)}
    prefix = Prefix(model, block)
    whole = result(model.module, **numbered)
    states = prefix.capture(model.module, **numbered)
    with prefix.from_states(states):
        assert torch.equal(result(model.module, **numbered), whole)
        other = result(model.module, **inputs)  # the blocks above read positions too
    assert (other - whole).abs().max() > 1e-2


def test_rows_in_one_sequence() -> None:
    """Two rows side by side, neither visible to the other: each has the states of it alone."""
    model = load_model(tiny_llama(blocks=4))
    prefix = Prefix(model, 2)
    rows = [torch.arange(3, 10), torch.arange(40, 45)]
    alone = [prefix.capture(model.module, input_ids=row[None]) for row in rows]
    same = torch.tensor([0] * 7 + [1] * 5)
    visible = (same[:, None] == same[None]) & torch.ones(12, 12, dtype=torch.bool).tril()
    packed = {
        "input_ids": torch.cat(rows)[None],
        "position_ids": torch.cat([torch.arange(7), torch.arange(5)])[None],
        "attention_mask": torch.where(visible, 0.0, torch.finfo(torch.float32).min)[None, None],
    }
    with prefix.from_states(torch.cat(alone, dim=1)):
        part = result(model.module, **packed)
    expected = torch.cat([result(model.module, input_ids=row[None]) for row in rows], dim=1)
    torch.testing.assert_close(part, expected, **CLOSE)


def test_routers_that_are_collected_are_missed() -> None:
    """The balancing loss is one over all blocks: from a block on it would be another."""
    options = {**BASE, "num_local_experts": 4, "num_experts_per_tok": 2}
    kind = transformers.MixtralForCausalLM
    model = load_model(kind(transformers.MixtralConfig(**options)).eval())
    Prefix(model, 1)
    collecting = load_model(
        kind(transformers.MixtralConfig(**options, output_router_logits=True)).eval()
    )
    with pytest.raises(ModelError, match=r"cannot be run from block 1 on"):
        Prefix(collecting, 1)


class Live(nn.Module):
    """A model of one's own, with blocks of several kinds."""

    def __init__(self, block: Any, read: Any = lambda output: output, order: Any = (0, 1, 2)):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(20, 4)
        self.layers = nn.ModuleList([block() for _ in range(3)])
        self.read, self.order = read, order

    def forward(self, input_ids: Tensor) -> Tensor:
        states = self.embed(input_ids)
        for place in self.order:
            states = self.read(self.layers[place](states))
        return states


class Wrapping(nn.Linear):
    def __init__(self, wrap: Any) -> None:
        super().__init__(4, 4)
        self.wrap = wrap

    def forward(self, hidden_states: Tensor) -> Any:
        return self.wrap(super().forward(hidden_states))


def live(wrap: Any, read: Any = lambda output: output, order: Any = (0, 1, 2)) -> LoadedModel:
    module = Live(partial(Wrapping, wrap), read, order)
    return LoadedModel("live", module, None, stack_of(module), {})


def stack_of(module: Any) -> BlockStack:
    return BlockStack("layers", tuple(module.layers), module)


@pytest.mark.parametrize(
    ("wrap", "read"),
    [
        (lambda states: states, lambda output: output),
        (lambda states: (states,), lambda output: output[0]),
        (lambda states: [states, states + 1], lambda output: output[0]),
        (lambda states: ((states, 3), None), lambda output: output[0][0]),
        (
            lambda states: (states, states.sum()),
            lambda output: output[0] if len(output) == 2 else 0,
        ),
    ],
)
def test_states_come_in_the_form_that_the_model_reads(wrap: Any, read: Any) -> None:
    model = live(wrap, read)
    tokens = torch.arange(10).reshape(2, 5)
    whole = model.module(tokens)
    for block in range(3):
        prefix = Prefix(model, block)
        states = prefix.capture(model.module, input_ids=tokens)
        with prefix.from_states(states):
            assert torch.equal(model.module(tokens), whole)


@pytest.mark.parametrize(
    ("wrap", "read", "order", "said"),
    [
        (lambda s: (s, s.mean()), lambda o: o[0] + o[1], (0, 1, 2), r"unsupported operand"),
        (lambda s: (s, [s]), lambda o: o[0] + len(o[1] or ()), (0, 1, 2), "its output differs"),
        (lambda s: s, lambda o: o, (0, 0, 1, 2), "its output differs"),
        (lambda s: s, lambda o: o, (2,), r"layers\.1 is never reached"),
        (lambda s: {"states": s}, lambda o: o["states"], (0, 1, 2), "a block passes on dict"),
    ],
    ids=["read", "counted", "twice", "never", "mapping"],
)
def test_other_models_are_refused(wrap: Any, read: Any, order: Any, said: str) -> None:
    model = live(wrap, read, order)
    with pytest.raises(ModelError, match=said) as refused:
        Prefix(model, 1)
    assert "\n" not in str(refused.value)
    assert touched(model.module) == []


def test_a_model_that_hands_on_in_secret_is_refused() -> None:
    """One block writes what another reads, past the states."""
    shelf: list[Tensor] = []

    class Secretive(Wrapping):
        def forward(self, hidden_states: Tensor) -> Any:
            shelf.append(hidden_states.mean())
            return super().forward(hidden_states) + shelf[0]

    module = Live(partial(Secretive, lambda states: states))
    module.embed.register_forward_pre_hook(lambda *_: shelf.clear())
    model = LoadedModel("live", module, None, stack_of(module), {})
    Prefix(model, 0)
    with pytest.raises(ModelError, match="what comes before does more than hand on states"):
        Prefix(model, 1)


def test_a_model_that_does_not_repeat_itself_must_agree_to_rounding() -> None:
    def noisy(size: float) -> Any:
        return lambda states: states + size * torch.randn_like(states)

    Prefix(live(noisy(1e-6)), 1)
    with pytest.raises(ModelError, match="its output differs"):
        Prefix(live(noisy(0.1)), 1)
    with pytest.raises(ModelError, match="its output differs"):
        Prefix(live(noisy(1e-6), order=(0, 0, 1, 2)), 1)


# Training.


def trained(name: str) -> LoadedModel:
    torch.manual_seed(0)
    small = {**BASE, "num_hidden_layers": 4, "initializer_range": 0.25}
    if name == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=61, n_embd=16, n_layer=4, n_head=4, n_positions=64,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
        return load_model(transformers.GPT2LMHeadModel(config))
    if name == "mixtral":
        config = transformers.MixtralConfig(**small, num_local_experts=4)
        return load_model(transformers.MixtralForCausalLM(config))
    config = transformers.Gemma2Config(**small, **WINDOW, head_dim=4, query_pre_attn_scalar=4)
    return load_model(transformers.Gemma2ForCausalLM(config))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "mixtral", "gemma2"])
def test_gradients_are_those_of_the_whole_model(name: str, checkpointing: bool) -> None:
    """Also when they are computed after the model is whole again."""
    model = trained(name)
    module = model.module.train()
    module.requires_grad_(False)
    for block in model.blocks.modules[2:]:
        block.requires_grad_(True)
    if checkpointing:
        module.gradient_checkpointing_enable({"use_reentrant": False})
    inputs = tower_inputs(batch_of(made_prompts()), module)
    labels = torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], -100)

    def gradients() -> dict[str, Tensor]:
        found = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        module.zero_grad()
        return found

    loss = module(**inputs, labels=labels).loss
    loss.backward()
    whole = gradients()
    prefix = Prefix(model, 2)
    states = prefix.capture(module, **inputs)
    assert all(part.training for part in module.modules())
    with prefix.from_states(states):
        again = module(**inputs, labels=labels).loss
    again.backward()
    part = gradients()
    assert torch.equal(again, loss)
    assert (
        whole.keys() == part.keys() == {n for n, p in module.named_parameters() if p.requires_grad}
    )
    assert all(torch.equal(whole[n], part[n]) for n in whole)
    assert all(value.abs().max() > 0 for value in whole.values() if value.dim() > 1)
    with prefix.from_states(states.flip(0)):
        module(**inputs, labels=labels).loss.backward()
    assert not all(torch.equal(whole[n], value) for n, value in gradients().items())


def test_states_may_want_gradients() -> None:
    model = load_model(tiny_llama(blocks=3))
    tokens = torch.arange(3, 20)[None]
    prefix = Prefix(model, 1)
    states = prefix.capture(model.module, input_ids=tokens).requires_grad_()
    with prefix.from_states(states):
        model.module(tokens).logits.sum().backward()
    assert states.grad is not None
    assert states.grad.abs().min() > 0


def test_block_0_is_not_run_twice_on_states_that_are_gone() -> None:
    model = load_model(tiny_llama(blocks=2))
    prefix = Prefix(model, 0)
    states = torch.zeros(1, 3, 32)
    model.module.gradient_checkpointing_enable({"use_reentrant": False})
    before = touched(model.module)
    with prefix.from_states(states):  # nothing is checkpointed in evaluation
        result(model.module, input_ids=torch.zeros(1, 3, dtype=torch.long))
    model.module.train()
    with (
        pytest.raises(ModelError, match="block 0 cannot be given states with gradient check"),
        prefix.from_states(states),
    ):
        pass
    assert touched(model.module) == before


def test_what_is_captured_is_not_random() -> None:
    model = load_model(tiny_llama(blocks=3))
    tokens = torch.arange(3, 30)[None]
    prefix = Prefix(model, 2)
    expected = prefix.capture(model.module, input_ids=tokens)
    for block in model.blocks.modules:
        block.self_attn.attention_dropout = 0.9
    model.module.train()
    assert torch.equal(prefix.capture(model.module, input_ids=tokens), expected)
    assert not expected.requires_grad
    assert all(part.training for part in model.module.modules())


# What is refused, and what is left.


@pytest.mark.parametrize("block", [-1, 3, 99])
def test_there_is_no_such_block(llama: nn.Module, block: int) -> None:
    model = load_model(tiny_llama(blocks=3))
    with pytest.raises(OptionError, match=f"no block {block}: the model has blocks 0 to 2"):
        Prefix(model, block)


@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize("shape", [(1, 6, 32), (2, 5, 32), (2, 6, 16)])
def test_states_of_another_batch_are_refused(block: int, shape: tuple[int, ...]) -> None:
    model = load_model(tiny_llama(blocks=3))
    prefix = Prefix(model, block)
    with (
        prefix.from_states(torch.zeros(shape)),
        pytest.raises(ModelError, match=r"the batch has \(2, 6, 32\): they are of another batch"),
    ):
        result(model.module, input_ids=torch.arange(12).reshape(2, 6))
    assert touched(model.module) == []


def test_a_cache_is_refused() -> None:
    """Of the blocks below it would be empty, and its length wrong."""
    model = load_model(tiny_llama(blocks=3))
    tokens = torch.arange(3, 9)[None]
    prefix = Prefix(model, 1)
    states = prefix.capture(model.module, input_ids=tokens)
    with prefix.from_states(states):
        output = model.module(tokens, use_cache=True)
        assert output.past_key_values is None
        with pytest.raises(ModelError, match="they are of another batch"):
            model.module.generate(tokens, max_new_tokens=2)
    filled = model.module(tokens).past_key_values
    with pytest.raises(ModelError, match="call it without a KV cache"):
        prefix.capture(model.module, input_ids=tokens, past_key_values=filled)
    with prefix.from_states(states), pytest.raises(ModelError, match="call it without a KV cache"):
        model.module(tokens, past_key_values=filled)
    assert touched(model.module) == []
    assert torch.equal(output.logits, model.module(tokens).logits)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("block", [0, 2])
def test_the_model_is_whole_again_whatever_happens(error: type[BaseException], block: int) -> None:
    model = load_model(tiny_llama(blocks=3))
    tokens = torch.arange(3, 20)[None]
    whole = result(model.module, input_ids=tokens)
    prefix = Prefix(model, block)
    states = prefix.capture(model.module, input_ids=tokens)

    def fail(*_args: Any) -> None:
        raise error

    with Patch() as patch:
        patch.replace_forward(model.blocks.modules[block].mlp, fail)
        with pytest.raises(error), prefix.from_states(states):
            result(model.module, input_ids=tokens)
    assert touched(model.module) == []
    with Patch() as patch:
        patch.replace_forward(model.module.model.embed_tokens, fail)
        with pytest.raises(error):
            prefix.capture(model.module, input_ids=tokens)
    assert touched(model.module) == []
    assert torch.equal(result(model.module, input_ids=tokens), whole)


def test_a_forward_of_anothers_is_there_again() -> None:
    """Accelerate puts its own on the modules of a model that is split over devices."""
    model = load_model(tiny_llama(blocks=3))
    block = model.blocks.modules[0]
    own, calls = block.forward, []

    def theirs(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return own(*args, **kwargs)

    block.forward = theirs
    prefix = Prefix(model, 1)
    states = prefix.capture(model.module, input_ids=torch.arange(3, 9)[None])
    assert calls
    calls.clear()
    with prefix.from_states(states):
        result(model.module, input_ids=torch.arange(3, 9)[None])
    assert not calls
    assert block.forward is theirs


def test_nothing_says_more_than_the_model_takes() -> None:
    """``use_cache`` is for towers that know it."""
    assert "use_cache" not in inspect.signature(Live.forward).parameters
    model = live(lambda states: states)
    Prefix(model, 1).check(model.module, input_ids=torch.zeros(1, 2, dtype=torch.long))

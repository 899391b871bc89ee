"""Packing loses no row, a packed row counts as if alone, and a model that cannot is found."""

import random

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from conftest import tiny_llama
from cruxlm.data.packing import (
    APART,
    OPEN_SEQUENCES,
    Encoded,
    PackCollator,
    Packs,
    check_packing,
    packing_error,
)
from cruxlm.data.supervised import UNLEARNED
from cruxlm.runtime.errors import ModelError, OptionError


def drawn(count, seed=0, shortest=4, longest=70):
    """Rows of random tokens, no two alike."""
    draw = random.Random(seed)
    sizes = [draw.randint(shortest, longest) for _ in range(count)]
    return [
        Encoded([draw.randrange(3, 99) for _ in range(n)], draw.randint(1, n - 1)) for n in sizes
    ]


@pytest.fixture(scope="module")
def encoded():
    return drawn(300)


def unpacked(packs):
    """Tokens and prompt length of each packed row, in the order they stand in."""
    found = []
    for tokens, numbers, responses in zip(packs.tokens, packs.rows, packs.responses, strict=True):
        for number in range(1, numbers.max() + 1):
            here = numbers == number
            found.append((tuple(tokens[here].tolist()), int((~responses[here]).sum())))
    return found


def batch_of(packs, prompt_weight=None):
    return PackCollator(prompt_weight)([packs[i] for i in range(len(packs))])


def test_each_row_is_packed_once_and_whole(encoded):
    packs = Packs(encoded, context=192)
    assert sorted(unpacked(packs)) == sorted((tuple(e.tokens), e.prompt) for e in encoded)
    assert packs.tokens[packs.rows == 0].sum() == 0
    # A row's number goes up within a sequence, and padding comes last.
    for numbers in packs.rows:
        real = numbers[numbers > 0]
        assert (np.diff(real) >= 0).all()
        assert (numbers[: len(real)] > 0).all()


def test_rows_stay_in_their_order_but_for_those_that_are_kept_waiting(encoded):
    """A curriculum is an order: packing moves a row by no more than the open sequences hold."""
    place = {tuple(e.tokens): i for i, e in enumerate(encoded)}
    packs = Packs(encoded, context=192)
    first = [place[tokens] for tokens, _ in unpacked(packs)]
    assert np.corrcoef(first, np.arange(len(first)))[0, 1] > 0.5
    waiting = 6 * OPEN_SEQUENCES  # rows that the open sequences hold
    assert max(abs(i - p) for i, p in enumerate(first)) <= waiting
    short = [Encoded([1, 3, 9, 4, 8, 2], 4)] * 3
    long = [Encoded([1, 3, *[7] * 10, 4, 8, 2], 13)]
    packed = unpacked(Packs([*long, *short], context=20))
    assert [len(tokens) for tokens, _ in packed] == [15, 6, 6, 6]


def test_a_limit_stops_reading_and_leaves_few_places_empty(encoded):
    read = 0

    def stream():
        nonlocal read
        while True:
            yield encoded[read % len(encoded)]
            read += 1

    packs = Packs(stream(), context=192, limit=40)
    assert len(packs) == 40
    assert read < 40 * 192 / 15
    assert (packs.rows > 0).mean() > 0.95
    assert len(Packs([], context=8)) == 0


def test_a_row_longer_than_the_context_is_refused(encoded):
    with pytest.raises(OptionError, match=r"a row of .* tokens does not fit a context of 8"):
        Packs(encoded, context=8)
    longest = max(len(e.tokens) for e in encoded)
    assert len(Packs(encoded, context=longest)) > 0
    with pytest.raises(OptionError):
        Packs(encoded, context=longest - 1)


def test_the_mask_is_made_of_blocks():
    rows = np.array([[1, 1, 2, 2, 2, 0, 0]], dtype=np.int16)
    responses = np.array([0, 1, 1, 0, 1, 0, 0], dtype=bool)
    sequence = {"tokens": np.arange(7), "rows": rows[0], "responses": responses}
    batch = PackCollator(0.5)([sequence])
    visible = batch["attention_mask"][0, 0] == 0
    expected = [[rows[0, i] == rows[0, j] and j <= i for j in range(7)] for i in range(7)]
    assert visible.tolist() == expected
    assert batch["rows"].tolist() == rows.tolist()
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0, 1]]
    assert batch["loss_weights"].tolist() == [[0, 1, 0, 0.5, 1, 0, 0]]
    assert batch["labels"].tolist() == batch["input_ids"].tolist() == [list(range(7))]
    assert batch["attention_mask"].min() < -1e30
    own = PackCollator()([sequence])
    assert set(own) == {"input_ids", "labels", "position_ids", "attention_mask"}
    no = UNLEARNED  # also the first token of a row, which nothing of its own comes before
    assert own["labels"].tolist() == [[no, 1, no, no, 4, no, no]]
    for name in ("input_ids", "position_ids", "attention_mask"):
        assert torch.equal(own[name], batch[name])


@pytest.mark.parametrize("prompt_weight", [0.0, 0.25, 1.0])
def test_responses_weigh_one_and_prompts_less(encoded, prompt_weight):
    batch = batch_of(Packs(encoded[:1], context=192), prompt_weight)
    row = encoded[0]
    response = len(row.tokens) - row.prompt
    expected = [0.0, *[prompt_weight] * (row.prompt - 1), *[1.0] * response]
    assert batch["loss_weights"][0, : len(row.tokens)].tolist() == expected


# Models.


def gpt2(context=128):
    torch.manual_seed(0)
    options = {"vocab_size": 99, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": context}
    return GPT2LMHeadModel(GPT2Config(**options, initializer_range=0.3)).eval()


def mistral(window):
    """Half of what a token sees of a row is cut off by a window of 8."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=99, hidden_size=16, intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        sliding_window=window, initializer_range=0.3,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


MODELS = {"Llama": lambda: tiny_llama(3, 16), "GPT2": gpt2, "Mistral": lambda: mistral(32)}
"""Rotary positions, learned positions, and a window longer than the rows."""


def alone(model, rows):
    """Summed nats of the rows' responses and their number, each row by itself, by hand."""
    total = count = 0
    for row in rows:
        scores = model(input_ids=torch.tensor([row.tokens])).logits[0].double().log_softmax(-1)
        places = range(row.prompt, len(row.tokens))
        total -= sum(scores[place - 1, row.tokens[place]].item() for place in places)
        count += len(places)
    return total / count


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_packed_loss_is_that_of_the_rows_alone(name, attention):
    model = MODELS[name]()
    model.set_attn_implementation(attention)
    rows = drawn(14, seed=1, longest=30)
    packs = Packs(rows, context=64)
    assert packs.rows.max() >= 3
    batch = batch_of(packs)
    wanted = alone(model, rows)
    assert model(**batch).loss.item() == pytest.approx(wanted, rel=1e-5)
    # Without positions or mask it is another.
    if name == "GPT2":
        del batch["position_ids"]
        assert model(**batch).loss.item() != pytest.approx(wanted, rel=1e-3)
    batch = batch_of(packs)
    del batch["attention_mask"], batch["position_ids"]
    assert model(**batch).loss.item() != pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_pack_are_those_of_the_rows(name):
    model = MODELS[name]()
    rows = drawn(5, seed=2, longest=20)
    model(**batch_of(Packs(rows, context=64))).loss.backward()
    packed = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    count = sum(len(row.tokens) - row.prompt for row in rows)
    for row in rows:
        tokens = torch.tensor([row.tokens])
        labels = tokens.clone()
        labels[:, : row.prompt] = UNLEARNED
        (model(input_ids=tokens, labels=labels).loss * (len(row.tokens) - row.prompt)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad / count, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_models_that_keep_rows_apart_are_accepted(name, attention):
    model = MODELS[name]()
    model.set_attn_implementation(attention)
    rows = drawn(20, seed=3, longest=30)
    assert packing_error(model, rows, context=64) < APART / 100
    check_packing(model, rows, context=64)
    check_packing(model, rows[:1], context=64)
    check_packing(model, rows, context=max(len(row.tokens) for row in rows))
    check_packing(model.to(torch.bfloat16), rows, context=64)


class Blind(nn.Module):
    """A model that passes over the mask, the positions, or both."""

    def __init__(self, model, *names):
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, **given):
        return self.model(**{n: t for n, t in given.items() if n not in self.names})


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (tiny_llama, ("attention_mask", "position_ids")),
        (gpt2, ("attention_mask", "position_ids")),
        (gpt2, ("position_ids",)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_passes_over_mask_or_positions_is_refused(made, names, dtype):
    rows = drawn(20, seed=3, longest=30)
    model = Blind(made(), *names).to(dtype)
    with pytest.raises(
        ModelError, match=r"Blind does not keep packed rows apart .*: train without"
    ):
        check_packing(model, rows, context=64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_window_shorter_than_the_rows_is_refused(dtype):
    short, long = drawn(9, seed=3, longest=7), drawn(1, seed=4, shortest=30, longest=30)
    model = mistral(8).to(dtype)
    check_packing(model, short, context=30)
    for rows in ([*short, *long], long):  # in a pack of its own, too
        with pytest.raises(ModelError, match=r"MistralForCausalLM does not keep packed rows apart"):
            check_packing(model, rows, context=30)


RECURRENT = {
    "Mamba": {"hidden_size": 16, "state_size": 4},
    "Rwkv": {"hidden_size": 16, "attention_hidden_size": 16},
    "RecurrentGemma": {
        "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4, "lru_width": 16,
        "attention_window_size": 64,
    },
    "Bloom": {"hidden_size": 16, "n_head": 4},
}  # fmt: skip
"""Three that carry a state from row to row, and one whose positions come out of the mask."""


@pytest.mark.parametrize("name", RECURRENT)
def test_models_of_another_build_are_refused_as_they_are_initialised(name):
    torch.manual_seed(0)
    options = {"vocab_size": 99, "num_hidden_layers": 3, "pad_token_id": 0, **RECURRENT[name]}
    config = getattr(transformers, f"{name}Config")(**options)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with pytest.raises(ModelError, match=r"(cannot read|does not keep) packed rows.*without pack"):
        check_packing(model, drawn(9, seed=5, longest=20), context=48)

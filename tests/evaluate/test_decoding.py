"""What models write: against argmax step by step, and drawn at random as often as it should be."""

import math
from collections import Counter
from functools import cache, partial

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import GenerationConfig

from conftest import byte_tokenizer
from cruxlm.evaluate.decoding import Continuation, end_tokens, greedy, sample
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError
from evaluate.tiny_models import built, drawn, plain_logits, rigged

STEPS = 10


@cache
def step_by_step(model, prompt):
    """Argmax over the whole sequence again and again, and the smallest lead of a choice."""
    tokens, lead = list(prompt), math.inf
    for _ in range(STEPS):
        logits = plain_logits(model, tokens)[-1]
        first, second = logits.topk(2).values.tolist()
        lead = min(lead, first - second)
        tokens.append(int(logits.argmax()))
    return tuple(tokens[len(prompt) :]), lead


@pytest.fixture(scope="module")
def prompts():
    return [example.prompt for example in drawn(9)]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_it_is_argmax_step_by_step(architecture, prompts, batch_size, use_cache):
    found = greedy(
        architecture, prompts, max_new_tokens=STEPS, ends=(), batch_size=batch_size,
        use_cache=use_cache,
    )  # fmt: skip
    clear = 0
    for prompt, continuation in zip(prompts, found, strict=True):
        wanted, lead = step_by_step(architecture, prompt)
        if lead > 1e-3:  # rounding cannot turn this choice
            assert continuation == Continuation(wanted, ended=False)
            clear += 1
    assert clear >= 7
    assert len({continuation.tokens for continuation in found}) > 3


@pytest.mark.parametrize("batch_size", [1, 100])
def test_it_stops_at_the_first_end(architecture, prompts, batch_size):
    everything = greedy(architecture, prompts, max_new_tokens=STEPS, ends=())
    # Ends that come late in one continuation and early, or never, in others.
    ends = {everything[0].tokens[4], everything[1].tokens[1]}
    found = greedy(architecture, prompts, max_new_tokens=STEPS, ends=ends, batch_size=batch_size)
    for whole, cut in zip(everything, found, strict=True):
        places = [place for place, token in enumerate(whole.tokens) if token in ends]
        assert cut.tokens == whole.tokens[: min(places, default=STEPS)]
        assert cut.ended == bool(places)
    assert len({len(cut.tokens) for cut in found}) > 1


def test_the_order_of_prompts_changes_nothing(tiny, prompts):
    found = greedy(tiny, prompts, max_new_tokens=STEPS, batch_size=4)
    moved = greedy(tiny, prompts[::-1], max_new_tokens=STEPS, batch_size=4)
    assert moved[::-1] == found


def test_the_end_of_the_context_is_a_limit_for_each_prompt_alone():
    # Learned positions: there is none after the last.
    model = built("GPT2LMHead", n_positions=16)
    prompts = [(5,) * length for length in (3, 15, 12, 12, 15, 6)]
    found = greedy(model, prompts, max_new_tokens=8, ends=())
    assert [len(continuation.tokens) for continuation in found] == [8, 1, 4, 4, 1, 8]
    assert found == [greedy(model, [p], max_new_tokens=8, ends=())[0] for p in prompts]
    with pytest.raises(ProbeError, match="16 tokens fills the model's context of 16"):
        greedy(model, [*prompts, (5,) * 16], max_new_tokens=8)


def test_the_models_own_settings_are_left_aside(tiny, prompts):
    wanted = greedy(tiny, prompts, max_new_tokens=STEPS, ends=())
    own = GenerationConfig(
        do_sample=True, temperature=5.0, top_k=3, repetition_penalty=9.0, no_repeat_ngram_size=1,
        suppress_tokens=[wanted[0].tokens[0]], min_new_tokens=5, max_length=3, num_beams=2,
    )  # fmt: skip
    tiny.generation_config = own
    text = own.to_json_string()
    assert greedy(tiny, prompts, max_new_tokens=STEPS, ends=()) == wanted
    assert tiny.generation_config is own
    assert own.to_json_string() == text


def test_ends_come_from_the_model_and_its_tokenizer(tiny, tokenizer):
    assert end_tokens(load_model(tiny)) == {2}
    tiny.generation_config.eos_token_id = [7, 8]
    assert end_tokens(load_model(tiny)) == {2, 7, 8}
    tiny.config.eos_token_id = None
    byte = byte_tokenizer()
    byte.eos_token = "!"
    assert end_tokens(load_model(tiny, tokenizer=byte)) == {7, 8, byte.eos_token_id}
    tiny.generation_config.eos_token_id = None
    assert end_tokens(load_model(tiny)) == set()
    assert greedy(rigged(tiny, 2, 9.0), [(5,)], max_new_tokens=3)[0].tokens == (2, 2, 2)


def test_a_model_that_only_ever_ends(tiny):
    found = greedy(rigged(tiny, 2, 9.0), [(5, 6), (7,)], max_new_tokens=4)
    assert found == [Continuation((), ended=True)] * 2


def test_patches_take_part(tiny, prompts):
    before = greedy(tiny, prompts, max_new_tokens=STEPS)
    handle = tiny.model.layers[1].register_forward_hook(lambda _m, given, _out: given[0])
    without_a_block = greedy(tiny, prompts, max_new_tokens=STEPS)
    handle.remove()
    assert without_a_block != before
    seen = []
    with Patch() as patch:
        patch.watch_output(tiny.model.layers[0], lambda states: seen.append(states.shape[1]))
        assert greedy(tiny, [(5, 6, 7)], max_new_tokens=4, ends=())[0].tokens
    assert seen == [3, 1, 1, 1]  # the prompt, then one token a step


@pytest.mark.parametrize("draws", [False, True])
def test_an_error_leaves_everything_as_it_was(tiny, prompts, tokenizer, draws):
    tiny.train()
    tiny.model.layers[1].eval()
    before = [module.training for module in tiny.modules()]
    own, state = tiny.generation_config, torch.random.get_rng_state()
    steps = []

    def interrupt(_module, _args, _output):
        assert not tiny.training
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt

    tiny.model.layers[2].register_forward_hook(interrupt)
    write = partial(sample, tokenizer=tokenizer) if draws else greedy
    with pytest.raises(KeyboardInterrupt):
        write(tiny, prompts, max_new_tokens=STEPS)
    assert [module.training for module in tiny.modules()] == before
    assert tiny.generation_config is own
    assert torch.equal(torch.random.get_rng_state(), state)


# At random.


def test_tokens_are_drawn_as_often_as_they_are_likely(tiny, tokenizer):
    for temperature in (0.5, 2.0):
        logits = plain_logits(tiny, (5, 6, 7))[-1].double()
        likely = (logits / temperature).softmax(-1).numpy()
        texts = sample(
            tiny, [(5, 6, 7)], max_new_tokens=1, ends=(), samples=4000, batch_size=500,
            temperature=temperature, tokenizer=tokenizer,
        )  # fmt: skip
        # Tokens from 2 to 60 are punctuation, digits and letters, each a text of its own.
        spelt = [tokenizer.decode([token]) for token in range(61)]
        counts = Counter(texts)
        common = [token for token in range(2, 61) if likely[token] * 4000 >= 5]
        assert len(common) > 3
        seen = [counts[spelt[token]] for token in common]
        wanted = likely[common] * 4000
        rest, unlikely = 4000 - sum(seen), 4000 - wanted.sum()
        assert chisquare([*seen, rest], [*wanted, unlikely]).pvalue > 0.001


def test_later_tokens_are_drawn_given_the_earlier_ones(tiny, tokenizer):
    """Pairs of tokens against the product of the two steps' probabilities."""
    first = plain_logits(tiny, (5, 6))[-1].double().softmax(-1)
    token = int(first.argmax())
    second = plain_logits(tiny, (5, 6, token))[-1].double().softmax(-1)
    follower = int(second.argmax())
    likely = float(first[token] * second[follower])
    texts = sample(
        tiny, [(5, 6)], max_new_tokens=2, ends=(), samples=2000, batch_size=500,
        tokenizer=tokenizer,
    )  # fmt: skip
    share = np.mean([text == tokenizer.decode([token, follower]).strip() for text in texts])
    assert abs(share - likely) < 4 * math.sqrt(likely * (1 - likely) / 2000)
    assert 0.01 < likely < 0.99


def test_a_seed_gives_the_same_texts_whatever_else_there_is(tiny, prompts, tokenizer):
    def texts(of=prompts, **options):
        return sample(tiny, of, max_new_tokens=6, tokenizer=tokenizer, **options)

    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    wanted = texts(samples=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert texts(samples=2, batch_size=5) == wanted
    assert texts(samples=2, batch_size=1) == wanted
    assert texts(prompts[:3], samples=2) == wanted[:6]
    assert texts() == wanted[::2]  # more samples leave the first ones as they were
    assert texts(samples=2, seed=1) != wanted
    assert wanted[::2] != wanted[1::2]


def test_a_low_temperature_is_greedy(tiny, prompts, tokenizer):
    cold = sample(tiny, prompts, max_new_tokens=6, temperature=1e-4, tokenizer=tokenizer, ends=())
    best = greedy(tiny, prompts, max_new_tokens=6, ends=())
    assert cold == [
        tokenizer.decode(list(found.tokens), skip_special_tokens=True) for found in best
    ]


def test_a_sample_ends_where_the_model_ends_it(tiny, tokenizer):
    tiny = rigged(tiny, 2, 3.0)
    texts = sample(tiny, [(5,)], max_new_tokens=200, samples=300, tokenizer=tokenizer)
    # One of 60 tokens of logit 0 against one of logit 3 that ends the text.
    end = math.exp(3) / (math.exp(3) + 60)
    empty = np.mean([text == "" for text in texts])
    assert abs(empty - end) < 0.1
    assert max(map(len, texts)) < 200


def test_bad_input(tiny, prompts, tokenizer):
    assert greedy(tiny, [], max_new_tokens=3) == []
    assert sample(tiny, [], max_new_tokens=3, tokenizer=tokenizer) == []
    with pytest.raises(ProbeError, match="prompt of no tokens"):
        greedy(tiny, [(5,), ()], max_new_tokens=3)
    with pytest.raises(OptionError, match="max_new_tokens 0"):
        greedy(tiny, prompts, max_new_tokens=0)
    with pytest.raises(OptionError, match="a batch of -1"):
        greedy(tiny, prompts, max_new_tokens=3, batch_size=-1)
    with pytest.raises(ProbeError, match="token 70, the model knows 61"):
        greedy(tiny, [(70,)], max_new_tokens=3)
    with pytest.raises(ProbeError, match="no tokenizer"):
        sample(tiny, prompts, max_new_tokens=3)
    for options, said in (
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"samples": 0}, "samples 0"),
        ({"seed": -1}, "seed -1"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
    ):
        with pytest.raises(OptionError, match=said):
            sample(tiny, prompts, tokenizer=tokenizer, **{"max_new_tokens": 3, **options})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(tiny, tokenizer, value):
    broken = rigged(tiny, 7, value)
    with pytest.raises(ModelError, match="logits that are not finite"):
        greedy(broken, [(5,)], max_new_tokens=3)
    with pytest.raises(ModelError, match="logits that are not finite"):
        sample(broken, [(5,)], max_new_tokens=3, tokenizer=tokenizer)

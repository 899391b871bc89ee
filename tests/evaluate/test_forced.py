"""Forced: what greedy decoding would begin with, against decoding itself; what a sweep re-uses."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import byte_tokenizer
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.evaluate.decoding import greedy
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.forced import Forced, closing_tokens
from cruxlm.evaluate.generation import Generation
from cruxlm.models.load import load_model
from cruxlm.models.patch import Patch
from cruxlm.models.swap import swapped
from cruxlm.runtime.errors import NotFiniteError, ProbeError
from evaluate.tiny_models import VOCABULARY, built, drawn, rigged


def asked(model, count=12):
    """What a model writes, as it is and with its first, a middle or its last token changed."""
    examples = drawn(count, longest=9)
    written = greedy(model, [e.prompt for e in examples], max_new_tokens=5, ends=())
    made = []
    for number, (example, said) in enumerate(zip(examples, written, strict=True)):
        tokens = list(said.tokens[: 1 + number % 5])
        changed = {1: 0, 2: len(tokens) // 2, 3: len(tokens) - 1}.get(number % 4)
        if changed is not None:
            tokens[changed] = 3 + (tokens[changed] + 1) % (VOCABULARY - 3)
        # What closes a response would not be asked for.
        tokens += [7] if tokens[-1] in (0, 2) else []
        made.append(Example(f"e{number}", example.prompt, tuple(tokens)))
    return made


def begun(model, examples):
    """Whether decoding begins with each response, written out token by token."""
    written = greedy(model, [e.prompt for e in examples], max_new_tokens=6, ends=(), batch_size=1)
    return [
        float(said.tokens[: len(e.response)] == e.response)
        for said, e in zip(written, examples, strict=True)
    ]


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_it_is_what_decoding_begins_with(architecture, padding, batch_size):
    examples = asked(architecture)
    found = Forced(batch_size, padding)(architecture, examples)
    assert found.values.tolist() == begun(architecture, examples)
    assert 0.2 < found.mean() < 0.5  # one in four is as it was written
    assert found.ids == tuple(e.id for e in examples)


def test_it_is_generation_with_an_exact_judge(tiny):
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    loaded = load_model(tiny, tokenizer=tokenizer)
    # Without marks, which end texts and are none.
    examples = [e for e in asked(loaded, 40) if min(e.response) > 2]
    loaded.module.generation_config.eos_token_id = loaded.module.config.eos_token_id = None

    def begins(wanted):
        return lambda text: text.startswith(wanted)

    judged = [
        replace(e, grade=begins(tokenizer.decode(list(e.response)).strip())) for e in examples
    ]
    written = Generation(max_new_tokens=8)(loaded, judged)
    assert np.array_equal(Forced()(loaded, examples).values, written.values)
    assert 0.1 < written.mean() < 0.5


def test_the_token_that_closes_a_response_is_not_asked_for(tiny):
    always = rigged(tiny, 9, 5.0)
    open_ended, wrong = Example("open", (3, 4), (9, 9)), Example("wrong", (3, 4), (9, 8))
    closed = Example("closed", (3, 4), (9, 9, 2))  # 2 ends texts, by the configuration
    assert Forced()(always, [open_ended, closed, wrong]).values.tolist() == [1, 1, 0]
    # And 0 is a mark of the tokenizer's.
    marked = replace(open_ended, id="marked", response=(9, 0))
    assert Forced()(load_model(always), [marked]).values.tolist() == [0]
    loaded = load_model(always, tokenizer=byte_tokenizer())
    assert closing_tokens(loaded) == {0, 1, 2}
    assert Forced()(loaded, [marked]).values.tolist() == [1]
    with pytest.raises(ProbeError, match="'nothing' has a response of nothing but its end"):
        Forced()(always, [Example("nothing", (3, 4), (2,))])


def test_of_equally_likely_tokens_the_first_counts_as_in_decoding(tiny):
    torn = rigged(tiny, 9, 0.0)
    examples = [Example("first", (3, 4), (0, 0, 3)), Example("other", (3, 4), (5, 0))]
    examples.append(Example("only the first", (3,), (0, 1)))
    examples = [replace(e, response=(*e.response[:-1], 0, 2)) for e in examples]
    assert Forced()(torn, examples).values.tolist() == [1, 0, 1]
    assert greedy(torn, [(3, 4)], max_new_tokens=3, ends=())[0].tokens == (0, 0, 0)


def test_logits_that_are_not_finite_are_refused(tiny):
    broken = rigged(tiny, 9, math.inf)
    with pytest.raises(NotFiniteError, match="largest logit on example 'x' is not finite"):
        Forced()(broken, [Example("x", (3, 4), (5,))])


@pytest.mark.parametrize("name", ["Llama", "GPT2LMHead"])
def test_a_sweep_runs_the_blocks_from_the_changed_one_up(name):
    key = "n_layer" if name == "GPT2LMHead" else "num_hidden_layers"
    tuned = load_model(built(name, **{key: 5}))
    other = copy.deepcopy(tuned.module)
    with torch.no_grad():
        for block in load_model(other).blocks.modules:
            for parameter in block.parameters():
                parameter.add_(0.05)
    base, examples = load_model(other), asked(tuned)
    sweep = Sweep(Subject(tuned, examples, Forced(4), base), {})
    assert np.array_equal(sweep.whole.values, Forced(4)(tuned, examples).values)
    for changed in range(5):
        calls = [0] * 5
        with Patch() as patch:
            for block, module in enumerate(tuned.blocks.modules):
                patch.replace_forward(module, counted(module.forward, calls, block))
            with swapped(tuned, base, [changed]):
                whole = Forced(4)(tuned, examples)
            assert calls == [3] * 5  # three batches, every block
            found = sweep.evaluate(lambda at=changed: swapped(tuned, base, [at]), changed, {})
        assert np.array_equal(found.values, whole.values)
        assert calls == [3 if block < changed else 6 for block in range(5)]


def counted(forward, calls, block):
    def run(*args, **kwargs):
        calls[block] += 1
        return forward(*args, **kwargs)

    return run

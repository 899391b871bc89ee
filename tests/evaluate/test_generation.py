"""Accuracy of what a model writes: planted answers, how texts are judged, where they end."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import byte_tokenizer
from cruxlm.evaluate.decoding import greedy
from cruxlm.evaluate.examples import Example, examples_from_chats
from cruxlm.evaluate.generation import Generation, concludes, judged, normalised
from cruxlm.models.load import load_model
from cruxlm.runtime.errors import OptionError, ProbeError
from evaluate.tiny_models import built, drawn, rigged


@pytest.fixture(scope="module")
def bytes_and_end():
    """One token a byte, and an end token that only the tokenizer knows."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    return tokenizer


@pytest.fixture
def told(tiny, bytes_and_end):
    """What a model writes after each of nine prompts, and examples that ask for just that."""
    examples = [replace(e, choices=(), right=None) for e in drawn(9)]
    prompts = [example.prompt for example in examples]
    written = greedy(tiny, prompts, max_new_tokens=6, ends=())
    texts = [
        bytes_and_end.decode(list(w.tokens), skip_special_tokens=True).strip() for w in written
    ]
    return [replace(e, answer=text) for e, text in zip(examples, texts, strict=True)], texts


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_planted_answer_is_right_and_any_other_wrong(tiny, bytes_and_end, told, batch_size):
    examples, texts = told
    tiny.generation_config.eos_token_id = tiny.config.eos_token_id = None
    evaluator = Generation(bytes_and_end, max_new_tokens=6, batch_size=batch_size)
    found = evaluator(tiny, examples)
    assert found.texts == tuple(texts)
    assert found.values.tolist() == [1.0] * 9
    assert len(set(texts)) > 5
    others = [replace(e, answer=f"{e.answer} not") for e in examples]
    assert evaluator(tiny, others).mean() == 0.0
    # Some right, some wrong, in another order: every value stays with its example.
    mixed = [example if i % 3 else others[i] for i, example in enumerate(examples)][::-1]
    found = evaluator(tiny, mixed)
    assert found.ids == tuple(example.id for example in mixed)
    assert found.values.tolist() == [float(i % 3 > 0) for i in range(9)][::-1]


def test_a_model_that_cannot_know_gets_nothing(bytes_and_end):
    """The control: random models and answers of four random tokens."""
    examples = [
        replace(e, answer=bytes_and_end.decode(list(other.prompt * 4)[:4]) + "a")
        for e, other in zip(drawn(30), drawn(30, seed=1), strict=True)
    ]
    found = Generation(bytes_and_end, max_new_tokens=6)(built("Llama"), examples)
    assert found.mean() == 0.0


def test_an_examples_own_judge_decides(tiny, bytes_and_end, told):
    examples, texts = told
    heard = []

    def judge(text):
        heard.append(text)
        return {0: True, 1: False, 2: None}[len(heard) % 3]

    tiny.generation_config.eos_token_id = tiny.config.eos_token_id = None
    found = Generation(bytes_and_end, 6)(
        tiny, [replace(e, answer="", grade=judge) for e in examples]
    )
    assert heard == texts
    assert [v if v == v else None for v in found.values.tolist()] == [0.0, None, 1.0] * 3


def test_it_says_where_it_stopped_and_what_was_cut(bytes_and_end, tiny):
    example = Example("x", (5, 6), (7, 8, 9), answer="a")
    tiny = rigged(tiny, 20, 9.0)
    found = Generation(bytes_and_end)(tiny, [example])
    assert found.options == {"max_new_tokens": 5, "use_cache": True}  # 1.5 times 3, rounded up
    assert found.series["truncated"].tolist() == [1.0]
    assert found.series["tokens"].tolist() == [5.0]
    assert found.texts == (bytes_and_end.decode([20] * 5),)
    longest = Example("y", (5, 6), (7,) * 8, answer="a")
    assert Generation(bytes_and_end)(tiny, [example, longest]).options["max_new_tokens"] == 12
    # 20 is now the model's end: nothing is cut, and nothing is written.
    tiny.generation_config.eos_token_id = 20
    ended = Generation(bytes_and_end)(tiny, [example])
    assert ended.series["truncated"].tolist() == [0.0]
    assert ended.texts == ("",)


def test_a_text_ends_where_the_examples_responses_end(bytes_and_end, tiny):
    """A base model's settings name another end than the chat template writes."""
    byte, mark = 20, 0  # <pad> is special to the tokenizer, and no end of anything else's
    for last, cut in ((mark, True), (byte, False)):
        model = rigged(built("Llama"), last, 9.0)
        example = Example("x", (5, 6), (7, 8, last), answer="a")
        found = Generation(bytes_and_end)(model, [example])
        assert found.series["truncated"].tolist() == [float(not cut)]


def test_what_it_says_of_itself(tiny, bytes_and_end, told):
    found = Generation(bytes_and_end, 2, use_cache=False)(tiny, told[0])
    assert (found.evaluator, found.higher_is_better) == ("generation", True)
    assert found.options == {"max_new_tokens": 2, "use_cache": False}
    assert (found.chance, Generation().chance(told[0])) == (None, None)
    assert found.weights.tolist() == [1.0] * 9
    assert found.groups == tuple(example.group for example in told[0])


def test_the_tokenizer_is_the_loaded_models_unless_given(tiny, bytes_and_end, told):
    examples, texts = told
    tiny.generation_config.eos_token_id = tiny.config.eos_token_id = None
    loaded = load_model(tiny, tokenizer=bytes_and_end)
    assert Generation(max_new_tokens=6)(loaded, examples).texts == tuple(texts)
    other = byte_tokenizer()
    given = Generation(other, max_new_tokens=6)(loaded, examples)
    assert given.mean() == 1.0
    with pytest.raises(ProbeError, match="has no tokenizer, so what it writes cannot be read"):
        Generation()(tiny, examples)


def test_bad_input(tiny, bytes_and_end, told):
    examples, _ = told
    with pytest.raises(ProbeError, match="no examples"):
        Generation(bytes_and_end)(tiny, [])
    with pytest.raises(ProbeError, match="example 'e3' has no answer to judge by"):
        Generation(bytes_and_end)(tiny, [*examples[:3], replace(examples[3], answer=" ")])
    with pytest.raises(OptionError, match="max_new_tokens 0"):
        Generation(bytes_and_end, max_new_tokens=0)(tiny, examples)
    with pytest.raises(ProbeError, match="'long' first"):
        Generation(bytes_and_end)(tiny, [Example("long", (5,) * 60, (6,) * 5, answer="a")])


@pytest.mark.parametrize(
    ("text", "answer", "same"),
    [
        ("Paris", "paris", True),
        ("  Paris.\n", "paris", True),
        ('"Paris"', "Paris", True),
        ("'Paris.'", "Paris", True),
        ("in  Paris", "In Paris!", True),
        ("STRASSE", "straße", True),
        ("Paris, France", "Paris", False),
        ("-5", "5", False),
        (".5", "5", False),
        ("5.", "5", True),
        ('" Paris " !', "Paris", True),
        ("50%", "50", False),
        ("+", "-", False),
        ("?", "!", False),
        ("", "Paris", False),
        ("...", "", False),
    ],
)
def test_texts_that_count_as_the_same(text, answer, same):
    assert (normalised(text) == normalised(answer)) == same
    assert judged(Example("x", (1,), (2,), answer=answer), text) == float(same)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text):
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("6 * 7 = <<6*7=42>>42\n#### 42", "42", True),
        ("so it is 42.", "42", True),
        ("42", "42", True),
        ("42 it is, not 41", "42", False),
        ("142", "42", False),
        ("3.42", "42", False),
        ("1,042", "42", False),
        ("-42", "42", False),
        ("-42", "-42", True),
        ("5-42", "-42", False),
        ("#### 1,042", "1042", True),
        ("#### 1042000", "1,042,000", True),
        ("in 1,2", "12", False),
        ("the answer is Paris!", "paris", True),
        ("comparis", "paris", False),
        ("a.b", "axb", False),
        ("$5", "$5", True),
        ("", "42", False),
    ],
)
def test_texts_that_end_with_an_answer(text, answer, right):
    assert concludes(text, answer) == right


def test_undefined_is_not_wrong():
    assert math.isnan(judged(Example("x", (1,), (2,), grade=lambda _text: None), "a"))


@pytest.mark.real
@pytest.mark.parametrize("name", ["stories260K", "craftgpt"])
def test_a_real_model_writes_what_it_writes_alone(real_models, name):
    """Long prompts, real weights: greedy texts in batches are those that generate gives alone."""
    tokenizer = AutoTokenizer.from_pretrained(real_models / name)
    model = AutoModelForCausalLM.from_pretrained(real_models / name, dtype="float32").eval()
    asked = ["once upon a time there was a little dog", "hello", "the sun was hot and", "where is"]
    rows = [
        {
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "the end of the long day"},
            ]
        }
        for text in asked
    ]
    examples = examples_from_chats(tokenizer, rows)
    found = Generation(tokenizer, max_new_tokens=12)(model, examples)
    for example, text in zip(examples, found.texts, strict=True):
        alone = model.generate(torch.tensor([example.prompt]), max_new_tokens=12, do_sample=False)
        assert text == tokenizer.decode(
            alone[0, len(example.prompt) :], skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        ).strip()  # fmt: skip
    assert len(set(found.texts)) > 2

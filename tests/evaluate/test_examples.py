"""Chat rows as examples: what is prompt, response and choice, and what is refused."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import cruxlm
from cruxlm.evaluate.examples import Example, check_examples, examples_from_chats, fitting
from cruxlm.runtime.errors import ProbeError

WEIGHTS = Path(cruxlm.__file__).parent / "testbed" / "weights"


def row(prompt="Where is Ada?", response="in Paris", **fields):
    messages = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": response},
    ]
    return {"messages": messages, **fields}


@pytest.fixture(scope="module")
def testbed():
    """The testbed's tokenizer, whose frame is <bos><user> PROMPT<assistant> RESPONSE<eos>."""
    shipped = sorted(WEIGHTS.glob("*/tokenizer.json"))
    return AutoTokenizer.from_pretrained(shipped[0].parent)


def spelt(tokenizer, tokens):
    return tokenizer.decode(list(tokens))


def test_a_row_of_the_testbed(testbed):
    (example,) = examples_from_chats(
        testbed, [row(id="a-1", family="facts", answer="Paris", choices=["in Rome", "in Paris"])]
    )
    assert spelt(testbed, example.prompt) == "<bos><user> Where is Ada?<assistant>"
    assert spelt(testbed, example.response) == " in Paris<eos>"
    assert [spelt(testbed, choice) for choice in example.choices] == [
        " in Rome<eos>",
        " in Paris<eos>",
    ]
    assert example.choices[1] == example.response
    assert (example.id, example.group, example.answer) == ("a-1", "facts", "Paris")
    assert (example.right, example.grade) == (1, None)
    # Where a model is asked: what the template writes before a response.
    asked = testbed.apply_chat_template(
        row()["messages"][:-1], tokenize=False, add_generation_prompt=True
    )
    assert list(example.prompt) == testbed(asked, add_special_tokens=False)["input_ids"]
    assert example.size == len(example.prompt) + max(map(len, example.choices))


def test_what_a_row_may_leave_out(testbed):
    rows = [
        row(),
        row(category="trivia"),
        row(id=0),
        row(answer=42, id=None),
        row(answer=""),
        row(choices=[]),
    ]
    found = examples_from_chats(testbed, rows)
    assert [example.id for example in found] == ["1", "2", "0", "4", "5", "6"]
    assert [example.group for example in found] == [None, "trivia", None, None, None, None]
    answers = ["in Paris", "in Paris", "in Paris", "42", "", "in Paris"]
    assert [example.answer for example in found] == answers
    assert all((example.choices, example.right) == ((), None) for example in found)


def test_a_row_is_judged_by_what_is_said_of_it(testbed):
    def grade(chat, text):
        return None if chat["answer"] == "?" else chat["answer"] in text

    rows = [row(answer=answer) for answer in ("Paris", "Rome", "?")]
    found = examples_from_chats(testbed, rows, grade=grade)
    assert [example.grade("in Paris") for example in found] == [True, False, None]


def spaced_digits():
    """Reads " dog" as one token, but " 3" as two: as many tokenizers keep digits apart."""
    vocabulary = {word: i for i, word in enumerate(["Q", ":", "Ġ", "Ġdog", "Ġcat", "3", "4", "|"])}
    tokenizer = Tokenizer(models.BPE({**vocabulary, **_letters()}, _merges()))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="|",
        chat_template="{% for m in messages %}{{ m.content }}:{% if m.role == 'user' %} "
        "{% endif %}{% endfor %}",
    )


def _letters():
    return {
        word: 20 + i
        for i, word in enumerate(["d", "o", "g", "c", "a", "t", "Ġd", "Ġdo", "Ġc", "Ġca"])
    }


def _merges():
    return [("Ġ", "d"), ("Ġd", "o"), ("Ġdo", "g"), ("Ġ", "c"), ("Ġc", "a"), ("Ġca", "t")]


def test_choices_begin_at_the_same_place():
    tokenizer = spaced_digits()
    space, dog, cat, three = (
        tokenizer.convert_tokens_to_ids(t) for t in ("Ġ", "Ġdog", "Ġcat", "3")
    )
    words, digits, mixed = (
        examples_from_chats(tokenizer, [row("Q", right, choices=choices)])[0]
        for right, choices in (
            ("dog", ["dog", "cat"]),
            ("3", ["3", "4"]),
            ("3", ["3", "dog"]),
        )
    )
    assert words.choices == ((dog,), (cat,))
    # A space that is no part of any choice is the prompt's.
    assert digits.prompt == (*words.prompt, space)
    assert digits.response == (three,)
    # One that is part of some is each choice's.
    assert mixed.prompt == words.prompt
    assert mixed.choices == ((space, three), (dog,))
    assert mixed.response == (space, three)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(id="a"), row(id="b"), row(id="a")], "two rows have the id 'a'"),
        ([row(id="2"), row()], "two rows have the id '2'"),
        ([{"id": "a"}], "row 'a': no list of messages"),
        ([{"id": "a", "messages": "hello"}], "row 'a': no list of messages"),
        ([{"id": "a", "messages": []}], "row 'a': a chat must end with"),
        ([row(), row(response=" ")], "row '2': the assistant's last message is empty"),
        ([row(choices="in Paris")], "row '1': its choices are not two or more"),
        ([row(choices=["in Paris", 3])], "row '1': its choices are not two or more"),
        ([row(choices=["in Rome", "in Bonn"])], "none of its choices is the assistant's"),
        ([row(choices=["in Paris"])], "two or more different texts"),
        ([row(choices=["in Paris", "a", "a"])], "two or more different texts"),
        ([row(choices=["in Paris", ""])], "two or more different texts"),
    ],
)
def test_rows_that_are_no_examples_are_named(testbed, rows, said):
    with pytest.raises(ProbeError, match=said):
        examples_from_chats(testbed, rows)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": ()}, "example 'x' has no prompt"),
        ({"response": ()}, "example 'x' has a response of no tokens"),
        ({"choices": ((1,), ()), "right": 0}, "example 'x' has a response of no tokens"),
        ({"choices": ((1,), (2,))}, "must say which of its choices is right"),
        ({"right": 0}, "must say which of its choices is right"),
        ({"choices": ((1,), (2,)), "right": 2}, "has no choice 2"),
        ({"choices": ((1,), (2,)), "right": -1}, "has no choice -1"),
    ],
)
def test_parts_that_do_not_fit(fields, said):
    with pytest.raises(ProbeError, match=said):
        Example(**{"id": "x", "prompt": (1,), "response": (2,), **fields})


def test_examples_that_a_context_does_not_hold():
    examples = [
        Example("short", (1, 2), (3,)),
        Example("long", (1, 2), (3, 4, 5)),
        Example("chosen", (1,), (3,), choices=((3,), (4, 5, 6, 7)), right=0),
    ]
    assert [example.size for example in examples] == [3, 5, 5]
    for context, kept in ((None, 3), (5, 3), (4, 1), (2, 0)):
        fits, left_out = fitting(iter(examples), context)
        assert fits == examples[:kept]
        assert left_out == ["short", "long", "chosen"][kept:]
    check_examples(examples, None)
    check_examples(examples, 5)
    with pytest.raises(
        ProbeError, match=r"2 of 3 examples .* context of 4 tokens \('long' first\)"
    ):
        check_examples(examples, 4)
    with pytest.raises(ProbeError, match="no examples"):
        check_examples([], 4)

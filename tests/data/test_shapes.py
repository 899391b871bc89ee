"""Rows of every published shape as chats, and what is said of rows that are of none."""

import pytest

from cruxlm.data.shapes import SHAPES, read_row, shape_of
from cruxlm.runtime.errors import ProbeError

CHOICES = {"text": ["gills", "lungs "], "label": ["A", "B"]}
PAIRS = [{"text": "gills", "label": "A"}, {"text": "lungs", "label": "B"}]
ASKED = "A fish breathes by\n\nA: gills\nB: lungs"

ROWS = {
    "chat": (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        ("Hi", "Ho"),
    ),
    "dolly": (
        {"instruction": "Who?", "context": "It was Ann.", "response": "Ann", "category": "qa"},
        ("Who?\n\nIt was Ann.", "Ann"),
    ),
    "dolly without context": (
        {"instruction": "Sing", "context": "", "response": "La", "category": "art"},
        ("Sing", "La"),
    ),
    "alpaca": ({"instruction": "Add", "input": "1 2", "output": "3"}, ("Add\n\n1 2", "3")),
    "alpaca with an answer": (
        {"instruction": "Add", "input": "", "output": "it is 3", "answer": 3},
        ("Add", "it is 3"),
    ),
    "gsm8k": (
        {"question": "1 and 2?", "answer": "1 + 2 = <<1+2=3>>3\n#### 3"},
        ("1 and 2?", "1 + 2 = <<1+2=3>>3\n#### 3"),
    ),
    "boolq": (
        {"question": "is it", "passage": "It is.", "answer": True},
        ("is it\n\nIt is.", "yes"),
    ),
    "boolq by label": ({"question": "is it", "passage": "No.", "label": 0}, ("is it\n\nNo.", "no")),
    "openbookqa": (
        {"id": "7-1", "question_stem": "A fish breathes by", "choices": CHOICES, "answerKey": "A"},
        (ASKED, "A: gills"),
    ),
    "openbookqa as published": (
        {
            "question": {"stem": "A fish breathes by", "choices": PAIRS},
            "fact1": "fish have gills",
            "answerKey": "B",
        },
        (ASKED, "B: lungs"),
    ),
    "pairs": ({"prompt": "Hi", "response": "Ho"}, ("Hi", "Ho")),
    "pairs with a completion": ({"prompt": "Hi", "completion": "Ho"}, ("Hi", "Ho")),
}
"""Rows by what they are, with their prompt and response."""


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_known_by_its_fields_and_read(name):
    row, (prompt, response) = ROWS[name]
    shape = name.split()[0]
    assert shape_of(row, "here") == shape
    # A table has every column, and null where there is nothing.
    others = {field for fields in SHAPES.values() for names in fields.fields for field in names}
    assert shape_of({**dict.fromkeys(others), **row}, "here") == shape
    messages = read_row(row, shape, "here")["messages"]
    assert [message["content"] for message in messages] == [prompt, response]
    assert [message["role"] for message in messages] == ["user", "assistant"]


def test_every_shape_has_a_row_here():
    assert {name.split()[0] for name in ROWS} == set(SHAPES)


def known(name):
    row, _ = ROWS[name]
    chat = dict(read_row(row, name.split()[0], "here"))
    del chat["messages"]
    return chat


def test_what_is_known_beside_a_response():
    assert known("gsm8k") == {"answer": "3"}
    assert known("alpaca with an answer") == {"answer": "3"}
    assert known("boolq") == {"choices": ["no", "yes"]}
    assert known("openbookqa") == {"choices": ["A: gills", "B: lungs"]}
    assert known("dolly") == known("alpaca") == known("pairs") == known("chat") == {}
    row = {**ROWS["chat"][0], "answer": 0, "choices": ["Ho ", "Hum"]}
    chat = read_row(row, "chat", "here")
    assert (chat["answer"], chat["choices"]) == ("0", ["Ho", "Hum"])


@pytest.mark.parametrize("text", ["12", "#### 12", "no #mark"])
def test_a_gsm8k_answer_without_a_rationale_is_a_response_all_the_same(text):
    chat = read_row({"question": "?", "answer": text}, "gsm8k", "here")
    assert chat["messages"][-1]["content"] == text
    assert "answer" not in chat


@pytest.mark.parametrize(
    ("value", "word"),
    [(True, "yes"), (False, "no"), ("true", "yes"), (" False", "no"), ("YES", "yes"), (1, "yes")],
)
def test_ways_to_write_a_truth_value(value, word):
    row = {"question": "is it", "passage": "It is.", "answer": value}
    assert read_row(row, "boolq", "here")["messages"][-1]["content"] == word


def test_the_roles_of_a_chat_stay():
    roles = ["system", "user", "assistant", "user", "assistant"]
    row = {"messages": [{"role": role, "content": f"{i}"} for i, role in enumerate(roles)]}
    messages = read_row(row, "chat", "here")["messages"]
    assert [message["role"] for message in messages] == roles
    assert [message["content"] for message in messages] == list("01234")


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Once upon a time"},
        {"instruction": "Add", "input": "1 2"},
        {"instruction": "Add", "output": None},
        {"question": "1 and 2?"},
        {"prompt": "Hi"},
        {},
    ],
)
def test_a_row_without_a_response_is_of_no_shape(row):
    fields = ", ".join(name for name, value in row.items() if value is not None) or "none"
    with pytest.raises(ProbeError, match=rf"^here has no prompt and .*\(fields: {fields}\)") as e:
        shape_of(row, "here")
    assert "dolly: instruction, response" in str(e.value)
    assert "pairs: prompt, response|completion" in str(e.value)
    assert all(f"{name}: " in str(e.value) for name in SHAPES)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_another_shape_names_the_field_that_is_missing(name):
    row, _ = ROWS[name]
    for other, shape in SHAPES.items():
        if shape.lacks(row) is None:
            continue
        with pytest.raises(ProbeError, match=rf"^here has no '.*rows of the shape '{other}'"):
            read_row(row, other, "here")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("alpaca", {"output": ["a"]}, "field 'output' is list, not text"),
        ("alpaca", {"instruction": 3}, "field 'instruction' is int, not text"),
        ("dolly", {"response": 3.5}, "field 'response' is float, not text"),
        ("dolly", {"context": "half \ud83d"}, "field 'context' holds half of a character"),
        ("pairs", {"response": {"a": 1}}, "field 'response' is dict, not text"),
        ("gsm8k", {"answer": 18}, "field 'answer' is int, not text"),
        ("boolq", {"answer": "perhaps"}, "field 'answer' is 'perhaps', no truth value"),
        ("boolq by label", {"label": -1}, "field 'label' is -1, no truth value"),
        ("openbookqa", {"answerKey": "C"}, "'answerKey' is 'C', and the choices are A, B"),
        ("openbookqa", {"choices": ["a", "b"]}, "'choices' is no list of choices, each with a"),
        ("openbookqa", {"choices": None}, "'choices' is no list of choices, each with a"),
        ("openbookqa", {"choices": {"text": ["a"]}}, "'choices' is no list of choices, each"),
        ("openbookqa", {"choices": {"text": ["a"], "label": "A"}}, "'choices' is no list of"),
        ("openbookqa", {"choices": {"text": ["a", "b"], "label": ["A"]}}, "'choices' is no list"),
        ("openbookqa", {"choices": PAIRS[:1]}, "has not two or more choices"),
        ("openbookqa", {"choices": PAIRS + PAIRS}, "has not two or more choices"),
        ("openbookqa", {"choices": []}, "has not two or more choices"),
        ("openbookqa as published", {"question": {"choices": PAIRS}}, "question, is NoneType"),
        ("chat", {"messages": "Hi"}, "messages are none, not with the assistant's response"),
        ("chat", {"messages": []}, "messages are none, not with the assistant's response"),
        (
            "chat",
            {"messages": [{"role": "user", "content": "Hi"}]},
            "messages end with the role 'user', not with the assistant's response",
        ),
        ("chat", {"messages": [{"role": "assistant"}]}, "no list of messages with a role and"),
        ("chat", {"choices": "Ho"}, "field 'choices' is str, no list of texts"),
        ("chat", {"choices": ["Ho", 1]}, "field 'choices' is int, not text"),
    ],
)
def test_fields_that_hold_something_else_are_refused(name, change, said):
    with pytest.raises(ProbeError, match=rf"^here\b.*{said}"):
        read_row({**ROWS[name][0], **change}, name.split()[0], "here")

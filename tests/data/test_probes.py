"""Probes: where a row's prompt and group are found, and what the built-in one holds."""

import json
from collections import Counter

import pytest

from cruxlm.data.probes import BUILTIN, PROMPT_FIELDS, load_probe
from cruxlm.runtime.errors import OptionError, ProbeError


@pytest.fixture
def rows(tmp_path):
    def write(*items):
        path = tmp_path / "mine.jsonl"
        path.write_text("\n".join(json.dumps(item) for item in items), "utf-8")
        return path

    return write


def test_builtin_is_large_unique_and_grouped():
    probe = load_probe("builtin")
    texts = [prompt.text for prompt in probe.prompts]
    assert len(set(texts)) == len(texts) >= 300
    assert all(text.strip() == text and text for text in texts)
    assert len({prompt.group for prompt in probe.prompts}) >= 5
    assert all(p.messages == ({"role": "user", "content": p.text},) for p in probe.prompts)


@pytest.mark.parametrize("n", [45, 90, 200, 300])
def test_the_first_builtin_prompts_are_balanced(n):
    counts = Counter(prompt.group for prompt in load_probe("builtin").prompts[:n])
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == len({prompt.group for prompt in load_probe("builtin").prompts})


def test_data_free_probes_lend_the_builtin_ones():
    assert {name: load_probe(name).shape for name in BUILTIN} == {
        "builtin": "prompts",
        "random-tokens": "random",
        "shuffled-tokens": "shuffled",
    }


def test_a_list_of_texts():
    probe = load_probe(["one", "two"])
    assert [p.text for p in probe.prompts] == ["one", "two"]
    assert all(p.messages is None and p.group is None for p in probe.prompts)
    with pytest.raises(ProbeError, match="prompt 2 is int, not text"):
        load_probe(iter(["one", 2]))  # an iterator: the type checker looks into lists


@pytest.mark.parametrize("field", PROMPT_FIELDS[1:])
def test_the_prompt_is_found_by_its_field(rows, field):
    (prompt,) = load_probe(rows({field: "one", "other": "two"})).prompts
    assert prompt.text == "one"
    assert prompt.messages == ({"role": "user", "content": "one"},)


def test_messages_come_before_prompt_and_a_named_field_before_all(rows):
    path = rows(
        {"prompt": "one", "messages": [{"role": "user", "content": "two"}], "mine": "three"}
    )
    assert load_probe(path).prompts[0].text == "two"
    assert load_probe(path, field="mine").prompts[0].text == "three"


def test_an_instruction_is_followed_by_its_input(rows):
    path = rows({"instruction": "Sum", "input": "1 2"}, {"instruction": "Sing", "input": " "})
    assert [p.text for p in load_probe(path).prompts] == ["Sum\n\n1 2", "Sing"]


def test_what_follows_a_prompt_is_what_is_trained_on(rows):
    path = rows(
        {"instruction": "Who?", "context": "It was Ann.", "response": "Ann"},
        {"instruction": "Who?", "input": "", "context": "It was Bob."},
        {"instruction": "Who?", "input": "Not this.", "context": "Nor this."},
        {"question": "is it", "passage": "It is.", "context": "No."},
        {"prompt": "Sing", "input": "high", "passage": "low"},
    )
    assert [p.text for p in load_probe(path).prompts] == [
        "Who?\n\nIt was Ann.",
        "Who?\n\nIt was Bob.",
        "Who?\n\nNot this.",
        "is it\n\nIt is.",
        "Sing",
    ]
    with pytest.raises(ProbeError, match="row 1 field 'input' holds half of a character"):
        load_probe(rows({"instruction": "Sum", "input": "\ud83d"}))


def test_one_list_of_messages_is_read_up_to_the_answer(rows):
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "So long"},
    ]
    first, second, third = load_probe(
        rows({"messages": chat}, {"messages": chat[:3]}, {"messages": [chat[2]]})
    ).prompts
    assert [m["content"] for m in first.messages] == ["Be kind.", "Hello", "Hi", "Bye"]
    assert first.text == "Bye"
    assert [m["role"] for m in second.messages] == ["system", "user"]
    assert third.text == ""
    assert third.messages is None


def test_a_text_file_is_raw_and_rows_are_chats(tmp_path, rows):
    path = tmp_path / "mine.txt"
    path.write_text("one\ntwo\n", "utf-8")
    assert [p.messages for p in load_probe(path).prompts] == [None, None]
    assert load_probe(rows({"text": "one"})).prompts[0].messages is not None


@pytest.mark.parametrize("field", ["group", "family", "category", "source"])
def test_groups(rows, field):
    path = rows({"prompt": "one", field: "a"}, {"prompt": "two", field: 3}, {"prompt": "three"})
    assert [p.group for p in load_probe(path).prompts] == ["a", "3", None]


def test_a_missing_field_lists_the_ones_that_are_there(rows):
    path = rows({"prompt": "one"}, {"body": "two", "id": 3})
    with pytest.raises(
        ProbeError, match=r"row 2 has no prompt field \(fields: body, id\).*--field"
    ):
        load_probe(path)
    with pytest.raises(ProbeError, match=r"row 1 has no field 'body' \(fields: prompt\)"):
        load_probe(path, field="body")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "is int, not text"),
        ({"a": 1}, "is dict, not text"),
        (["one"], "no list of messages"),
        ([{"role": "user"}], "no list of messages"),
        ([{"role": "user", "content": ["a"]}], "no list of messages"),
        ("half \ud83d", "half of a character"),
        ([{"role": "user", "content": "\udc00"}], "half of a character"),
    ],
)
def test_what_is_no_text_is_refused_by_row_and_field(rows, value, said):
    with pytest.raises(ProbeError, match=rf"row 2 field 'prompt' .*{said}"):
        load_probe(rows({"prompt": "one"}, {"prompt": value}))


def test_null_is_an_empty_prompt(rows):
    assert load_probe(rows({"prompt": None})).prompts[0].text == ""


def test_an_unknown_name_gets_a_hint(tmp_path):
    with pytest.raises(OptionError, match=r"no probe or file 'bultin': did you mean 'builtin'\?"):
        load_probe("bultin")
    with pytest.raises(OptionError, match="no probe or file"):
        load_probe("a long text that is no file name " * 20)
    with pytest.raises(ProbeError, match="is no file"):
        load_probe(tmp_path)


def test_a_file_lends_its_name(rows):
    assert load_probe(rows({"prompt": "one"})).name == "mine"

"""Hostile rows: texts without end, damaged characters, mixed encodings: one clear line, soon."""

import json

import pytest

from cruxlm.data import fields
from cruxlm.data.instructions import load_instructions
from cruxlm.data.probes import load_probe
from cruxlm.runtime.errors import ProbeError

GOOD = {"prompt": "ask", "response": "say"}


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Reads a file that must be refused; its one line, short and printable."""
    monkeypatch.setattr(fields, "MOST_CHARACTERS", 50_000)

    def read(content, name="a.jsonl", reader=load_instructions):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ProbeError) as error:
            reader(path)
        said = str(error.value)
        assert said.isprintable()
        assert len(said) < 2100
        return said

    return read


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


@pytest.mark.parametrize(
    "row",
    [
        {**GOOD, "prompt": "a" * 50_001},
        {**GOOD, "response": "😀" * 50_001},
        {
            "messages": [
                {"role": "user", "content": "a" * 50_001},
                {"role": "assistant", "content": "b"},
            ]
        },
        {"question": "a", "answer": "b" * 50_001},
    ],
)
def test_a_text_that_no_model_reads_is_named(refused, row):
    said = refused(lines(row, row))
    assert "a.jsonl line 1 field" in said
    assert "has 50,001 characters, more than any model reads" in said


def test_one_at_the_limit_is_read(refused, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines({**GOOD, "prompt": "a" * 50_000}))
    assert len(load_instructions(path).rows[0]["messages"][0]["content"]) == 50_000


def test_every_kind_of_file_has_the_limit(refused):
    long = {**GOOD, "prompt": "a" * 50_001}
    assert "row 1 field 'prompt' has 50,001" in refused(json.dumps([long]), "a.json")
    assert "line 2 field 'prompt' has 50,001" in refused(
        f"prompt,response\n{'a' * 50_001},b", "a.csv"
    )
    assert "row 1 field 'text' has 50,001" in refused("a" * 50_001, "a.txt", load_probe)
    assert "row 1 field 'prompt' has 50,001" in refused(lines(long), reader=load_probe)


@pytest.mark.parametrize("name", ["id", "family"])
def test_names_that_are_texts(refused, name):
    assert "has 1,001 characters, and a name at most 1,000" in refused(
        lines({**GOOD, name: "a" * 1001})
    )
    assert "half of a character" in refused(lines({**GOOD, name: "\ud800"}))


def test_what_stands_beside_a_response_is_text_too(refused):
    chat = [{"role": "\ud800", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert "half of a character" in refused(lines({"messages": chat}))
    assert "half of a character" in refused(lines({**GOOD, "answer": "\udfff"}))


def test_a_message_quotes_no_more_than_can_be_read(refused):
    said = refused(lines({"x" * 1_000_000: 1}))
    assert " ... " in said
    assert said.endswith("pairs: prompt, response|completion)")


def test_mixed_encodings_name_the_line(refused):
    good = lines(GOOD).encode()
    latin = good.replace(b"ask", b"caf\xe9")
    assert "a.jsonl line 2 is not UTF-8 text" in refused(b"\n".join([good, latin, good]))
    utf16 = good.decode().encode("utf-16")
    assert "line 1 is not UTF-8 text" in refused(utf16)
    assert "line 3 is not UTF-8 text" in refused(b"\n".join([good, good, utf16]))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "1" * 100_000, "\0" * 1000])
def test_what_is_no_row(refused, content):
    assert "line 1" in refused(content)

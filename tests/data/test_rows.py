"""Rows from files as users have them: every ending, odd encodings, and what is said of damage."""

import json
import sys

import pytest

from cruxlm.data.probes import load_probe
from cruxlm.data.rows import READERS, placed_rows, read_rows
from cruxlm.runtime.errors import MissingExtraError, ProbeError

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def test_text_has_one_row_a_line(file):
    assert read_rows(file("a.txt", "one\ntwo\n\nthree")) == [
        {"text": "one"},
        {"text": "two"},
        {"text": ""},
        {"text": "three"},
    ]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_last_line_end_is_no_row(file, ending):
    assert len(read_rows(file("a.txt", f"one{ending or chr(10)}two{ending}"))) == 2


def test_an_empty_file_has_no_rows(file):
    for name in ("a.txt", "a.jsonl", "a.csv"):
        assert read_rows(file(name, "")) == []


@pytest.mark.parametrize("mark", [b"", BOM])
def test_byte_order_mark_and_carriage_returns_are_no_text(file, mark):
    assert read_rows(file("a.txt", mark + b"one\r\ntwo\r\n")) == [{"text": "one"}, {"text": "two"}]
    rows = [{"prompt": "one"}, {"prompt": "two"}]
    assert (
        read_rows(file("a.jsonl", mark + b'{"prompt":"one"}\r\n\r\n{"prompt":"two"}\r\n')) == rows
    )
    assert read_rows(file("a.json", mark + json.dumps(rows).encode())) == rows
    assert read_rows(file("a.csv", mark + b"prompt\r\none\r\ntwo\r\n")) == rows


def test_separators_inside_a_line_do_not_end_it(file):
    line = "a\x0cb\u2028c\x85d"
    assert read_rows(file("a.txt", f"{line}\n")) == [{"text": line}]
    quoted = json.dumps({"prompt": line}, ensure_ascii=False).replace("\x0c", "\\f")
    assert read_rows(file("a.jsonl", quoted)) == [{"prompt": line}]


def test_csv_quotes(file):
    content = 'prompt,group\r\n"He said ""no"", twice",a\r\n"two\nlines",b\r\n'
    assert read_rows(file("a.csv", content)) == [
        {"prompt": 'He said "no", twice', "group": "a"},
        {"prompt": "two\nlines", "group": "b"},
    ]


def test_csv_names_the_line_of_a_broken_quote(file):
    with pytest.raises(ProbeError, match=r"a\.csv line 3: "):
        read_rows(file("a.csv", 'prompt\r\nfine\r\n"not closed\r\n'))


def test_csv_rows_may_be_short_or_long(file):
    rows = read_rows(file("a.csv", "prompt,group\none\ntwo,b,more\n"))
    assert rows == [{"prompt": "one", "group": None}, {"prompt": "two", "group": "b"}]


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("a.txt", "one\n\ntwo", ["line 1", "line 2", "line 3"]),
        ("a.jsonl", '\n{"a": 1}\r\n\n  \n"two"\n', ["line 2", "line 5"]),
        ("a.csv", 'a,b\n1,2\n\n"two\nlines",3\n4,5\n', ["line 2", "line 5", "line 6"]),
        ("a.json", '[{"a": 1},\n\n"two"]', ["row 1", "row 2"]),
    ],
)
def test_a_row_has_its_place_in_the_file(file, name, content, places):
    path = file(name, content)
    found = placed_rows(path)
    assert [place for place, _ in found] == places
    assert [row for _, row in found] == read_rows(path)


def test_json_may_wrap_its_rows_or_hold_plain_texts(file):
    assert read_rows(file("a.json", '{"data": [{"prompt": "one"}], "n": 1}')) == [{"prompt": "one"}]
    assert read_rows(file("a.json", '["one", "two"]')) == [{"text": "one"}, {"text": "two"}]


@pytest.mark.parametrize("content", ['{"a": 1}', '{"a": [], "b": []}', '"text"', "3", "null"])
def test_json_without_one_list_of_rows_is_refused(file, content):
    with pytest.raises(ProbeError, match="expected a list of rows"):
        read_rows(file("a.json", content))


def test_broken_json_names_the_line(file):
    with pytest.raises(ProbeError, match=r"a\.jsonl line 3 column 11 is not JSON"):
        read_rows(file("a.jsonl", '{"prompt":"one"}\n\n{"prompt":}\n'))
    with pytest.raises(ProbeError, match=r"a\.json line 2 column 6 is not JSON"):
        read_rows(file("a.json", '[{"a":1},\n{"a":]'))
    with pytest.raises(ProbeError, match=r"a\.jsonl line 1 is a int"):
        read_rows(file("a.jsonl", "3"))
    with pytest.raises(ProbeError, match=r"a\.json row 2 is a list"):
        read_rows(file("a.json", '["a", []]'))


@pytest.mark.parametrize("content", ["1" * 5000, "[" * 100_000], ids=["digits", "nesting"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_beyond_the_parser_is_refused(file, name, content):
    with pytest.raises(ProbeError, match=r"a\.jsonl? (line 1 )?cannot be read"):
        read_rows(file(name, content))


def test_binary_bytes_name_the_line(file):
    with pytest.raises(ProbeError, match=r"a\.txt line 2 is not UTF-8"):
        read_rows(file("a.txt", b"fine\n\x89PNG\r\n\x1a"))
    with pytest.raises(ProbeError, match=r"a\.txt line 3 has a NUL byte"):
        read_rows(file("a.txt", b"fine\nfine\na\0b"))
    with pytest.raises(ProbeError, match=r"a\.jsonl line 1 is not UTF-8"):
        read_rows(file("a.jsonl", '{"prompt":"a"}'.encode("utf-16")))


def test_an_unreadable_file_is_said(file, monkeypatch):
    path = file("a.txt", "one")

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(ProbeError, match=r"cannot read .*a\.txt: Permission denied"):
        read_rows(path)


def test_no_file_or_no_known_kind(tmp_path, file):
    with pytest.raises(ProbeError, match="there is no "):
        read_rows(tmp_path / "absent.txt")
    with pytest.raises(ProbeError, match="there is no "):
        read_rows(tmp_path / f"{'a' * 300}.txt")
    with pytest.raises(ProbeError, match="is no file"):
        read_rows(tmp_path)
    with pytest.raises(ProbeError, match=r"is none of \.csv, \.json, \.jsonl, \.parquet, \.txt"):
        read_rows(file("a.xlsx", "one"))


@pytest.mark.parametrize("ending", sorted(set(READERS) - {".parquet"}))
def test_every_ending_is_read_in_any_case(file, ending):
    content = {".json": '["one"]', ".jsonl": '"one"', ".csv": "text\none", ".txt": "one"}[ending]
    assert read_rows(file(f"a{ending.upper()}", content)) == [{"text": "one"}]


def test_parquet(file, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"prompt": "one", "messages": [{"role": "user", "content": "hello"}]},
        {"prompt": None, "messages": None},
    ]
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert read_rows(path) == rows
    assert [place for place, _ in placed_rows(path)] == ["row 1", "row 2"]
    assert load_probe(path, field="prompt").prompts[0].text == "one"
    with pytest.raises(ProbeError, match="cannot be read as parquet"):
        read_rows(file("b.parquet", path.read_bytes()[:100]))


def test_parquet_names_the_extra_that_is_missing(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cruxlm\[parquet\]'"):
        read_rows(file("a.parquet", b""))

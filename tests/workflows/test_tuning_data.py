"""Rows in three parts: nothing that is asked in one is asked in another."""

import json

import pytest

from cruxlm.data.instructions import load_instructions
from cruxlm.runtime.errors import OptionError, ProbeError
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.workflows.tuning_data import TESTED, VALIDATED, tuning_data
from workflows.tiny_tunings import chat_rows, write


def asked(rows):
    return {json.dumps(row["messages"][:-1]) for row in rows}


def parts(found):
    return found.train, found.validation, found.test


def check_apart(found):
    train, validation, test = map(asked, parts(found))
    assert not train & validation
    assert not train & test
    assert not validation & test
    for rows in parts(found):
        assert rows
        assert len({row["id"] for row in rows}) == len(rows)


# Files.


def test_a_file_is_dealt_into_three(tmp_path):
    path = write(tmp_path / "rows.jsonl", chat_rows(100))
    found = tuning_data(path, n=None, test=None)
    check_apart(found)
    assert [len(rows) for rows in parts(found)] == [81, 9, 10]
    assert (found.name, found.grade, found.test_sha256, found.left_out) == ("rows", None, None, {})
    assert found.sha256 == load_instructions(path).sha256
    assert tuning_data(path, n=None, test=None) == found


def test_where_a_row_goes_depends_on_its_content_alone(tmp_path):
    rows = chat_rows(60)
    one = tuning_data(write(tmp_path / "a.jsonl", rows), n=None, test=None)
    other = tuning_data(write(tmp_path / "b.jsonl", rows[::-1]), n=None, test=None)
    assert list(map(asked, parts(one))) == list(map(asked, parts(other)))
    assert tuning_data(tmp_path / "a.jsonl", n=None, test=None) == one
    fewer = tuning_data(tmp_path / "a.jsonl", n=5, test=None)
    assert fewer.train == one.train[:5]
    assert (fewer.validation, fewer.test) == (one.validation, one.test)


def test_what_is_asked_twice_is_on_one_side(tmp_path):
    """With whatever answers: three of every prompt."""
    rows = [{**row, "response": f"answer {i}"} for i in range(3) for row in chat_rows(20)]
    found = tuning_data(write(tmp_path / "rows.jsonl", rows), n=None, test=None)
    check_apart(found)
    assert sum(map(len, parts(found))) == 60


def test_few_rows_are_kept_of_a_large_file(tmp_path):
    path = write(tmp_path / "rows.jsonl", chat_rows(3000))
    found = tuning_data(path, n=None, test=None)
    assert (len(found.validation), len(found.test)) == (VALIDATED, TESTED)
    assert len(found.train) == 2430


def test_a_test_file_of_its_own(tmp_path):
    path = write(tmp_path / "rows.jsonl", chat_rows(50))
    test = write(tmp_path / "test.jsonl", chat_rows(8, first=1000))
    found = tuning_data(path, n=None, test=test)
    check_apart(found)
    assert [len(rows) for rows in parts(found)] == [45, 5, 8]
    assert found.test_sha256 == load_instructions(test).sha256
    assert found.left_out["asked_in_the_test"] == 0
    # Another test changes nothing else.
    other = write(tmp_path / "other.jsonl", chat_rows(8, first=2000))
    again = tuning_data(path, n=None, test=other)
    assert (again.train, again.validation) == (found.train, found.validation)


def test_what_a_test_file_asks_is_not_trained_on(tmp_path):
    path = write(tmp_path / "rows.jsonl", chat_rows(50))
    leaked = [{**row, "response": "another answer"} for row in chat_rows(6, first=47)]
    found = tuning_data(path, n=None, test=write(tmp_path / "test.jsonl", leaked))
    check_apart(found)
    assert found.left_out["asked_in_the_test"] == 3
    assert len(found.train) + len(found.validation) == 47
    with pytest.raises(OptionError, match=r"every row of .* is asked in .*: none is left to train"):
        tuning_data(path, n=None, test=path)


def test_rows_without_an_answer_are_counted(tmp_path):
    rows = [*chat_rows(40), {"prompt": "why", "response": "  "}, {"prompt": "", "response": "x"}]
    found = tuning_data(write(tmp_path / "rows.jsonl", rows), n=None, test=None)
    assert found.left_out == {"no_response": 1, "no_prompt": 1}
    assert sum(map(len, parts(found))) == 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "a", "response": "b"}\n{"prompt": "c"}\n', "line 2"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": \n', "line 2 column"),
        ('{"prompt": "a", "response": "b"}\n{"prompt": "c", "response": 3}\n', "line 2"),
        ('{"prompt": "a"}\n', "line 1"),
        ("", "has no rows"),
        ('{"prompt": "a", "response": " "}\n', "in each the prompt or response is blank"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, text, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ProbeError, match=said) as refused:
        tuning_data(str(path), n=None, test=None)
    assert "rows.jsonl" in str(refused.value)
    assert str(refused.value).isprintable()


def test_too_few_rows(tmp_path):
    path = write(tmp_path / "rows.jsonl", chat_rows(4))
    with pytest.raises(OptionError, match="leaves none to set apart"):
        tuning_data(path, n=None, test=None)
    path = write(tmp_path / "rows.jsonl", chat_rows(20))
    with pytest.raises(OptionError, match="has 16 rows to train on: --n 17 is too many"):
        tuning_data(path, n=17, test=None)
    for n in (0, -3):
        with pytest.raises(OptionError, match="n must be 1 or more"):
            tuning_data(path, n=n, test=None)
        with pytest.raises(OptionError, match="n must be 1 or more"):
            tuning_data("testbed:stars", n=n, test=None)


def test_what_is_not_there(tmp_path):
    with pytest.raises(ProbeError, match=r"there is no .*nowhere\.jsonl"):
        tuning_data(str(tmp_path / "nowhere.jsonl"), n=None, test=None)
    path = write(tmp_path / "rows.jsonl", chat_rows(20))
    with pytest.raises(ProbeError, match=r"there is no .*absent\.jsonl"):
        tuning_data(path, n=None, test=str(tmp_path / "absent.jsonl"))
    with pytest.raises(OptionError, match="did you mean 'testbed:hops'"):
        tuning_data("hops", n=None, test=None)


def test_answers_at_the_end_of_responses_are_judged_by(tmp_path):
    rows = [
        {"question": f"What is {n} and {n + 1}?", "answer": f"It is easy.\n#### {2 * n + 1}"}
        for n in range(40)
    ]
    found = tuning_data(write(tmp_path / "sums.jsonl", rows), n=None, test=None)
    row = found.test[0]
    assert found.grade(row, f"I think #### {row['answer']}") is True
    assert found.grade(row, f"I think #### 1{row['answer']}") is False
    # One response without a conclusion, and no answer can be judged like this.
    bare = [{**row, "answer": "It is hard."} for row in rows]
    assert tuning_data(write(tmp_path / "bare.jsonl", bare), n=None, test=None).grade is None
    # Nor when the answer stands elsewhere.
    first = [{"prompt": row["question"], "response": "7 it is", "answer": "7"} for row in rows]
    assert tuning_data(write(tmp_path / "first.jsonl", first), n=None, test=None).grade is None


# The testbed.


@pytest.mark.parametrize("family", [*FAMILIES, *TARGETS])
def test_every_family_of_the_testbed(family, monkeypatch):
    for name, count in (("TESTED", 60), ("VALIDATED", 40)):
        monkeypatch.setattr(f"cruxlm.workflows.tuning_data.{name}", count)
    found = tuning_data(f"testbed:{family}", n=100, test=None)
    assert found.name == f"testbed:{family}"
    assert len(found.train) == 100
    assert asked(found.train).isdisjoint(asked(found.test))
    assert asked(found.train).isdisjoint(asked(found.validation))
    assert asked(found.validation).isdisjoint(asked(found.test))
    for rows in (found.validation, found.test):
        assert len({row["id"] for row in rows}) == len(rows) > 0
    if family == "story":  # any will do: there is nothing to judge by
        assert found.grade is None
        return
    # The right answer is right, and another one is wrong.
    verdicts = {found.grade(row, row["messages"][-1]["content"]) for row in found.test}
    assert verdicts == {True}
    assert not any(found.grade(row, "certainly nothing of the kind") for row in found.test)


def test_families_together():
    found = tuning_data("testbed:stars,hops", n=20, test=None)
    assert found.grade is not None
    assert tuning_data("testbed:stars,story", n=20, test=None).grade is None
    assert {row["family"] for row in found.train} == {"stars", "hops"}
    assert tuning_data("testbed:stars,hops", n=20, test=None).train == found.train
    assert found.sha256 != tuning_data("testbed:stars,hops", n=21, test=None).sha256


@pytest.mark.parametrize(
    ("spec", "test", "said"),
    [
        ("testbed:stras", None, "no family 'stras': did you mean 'stars'"),
        ("testbed:", None, "there is no family ''"),
        ("testbed:stars,", None, "there is no family ''"),
        ("testbed:stars", "file.jsonl", "test rows of its own: leave out --test"),
    ],
)
def test_what_the_testbed_refuses(spec, test, said):
    with pytest.raises(OptionError, match=said):
        tuning_data(spec, n=None, test=test)

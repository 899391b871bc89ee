"""Instruction data from files: rows with ids and families, a content hash, splits, damage."""

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.data.instructions import load_instructions, split
from cruxlm.data.shapes import SHAPES, shape_of
from cruxlm.evaluate.examples import examples_from_chats
from cruxlm.runtime.errors import OptionError, ProbeError


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if not isinstance(content, str):
            content = "\n".join(
                line if isinstance(line, str) else json.dumps(line) for line in content
            )
        path.write_text(content, "utf-8")
        return path

    return write


def pair(number, **more):
    return {"prompt": f"ask {number}", "response": f"say {number}", **more}


def test_rows_are_chats_with_ids_and_families(file):
    rows = [
        {"instruction": "Who?", "context": "Ann.", "response": " Ann\n", "category": "qa"},
        {"instruction": "Sing", "context": None, "response": "La", "id": 7, "category": None},
    ]
    found = load_instructions(file("mine.jsonl", rows))
    assert (found.name, found.shape, found.left_out) == ("mine", "dolly", {})
    assert [dict(row) for row in found.rows] == [
        {
            "id": "1",
            "family": "qa",
            "messages": (
                {"role": "user", "content": "Who?\n\nAnn."},
                {"role": "assistant", "content": "Ann"},
            ),
        },
        {
            "id": "7",
            "messages": (
                {"role": "user", "content": "Sing"},
                {"role": "assistant", "content": "La"},
            ),
        },
    ]


def test_rows_are_what_examples_are_made_of(file, tokenizer):
    row = {
        "question_stem": "A fish breathes by",
        "choices": {"text": ["gills", "lungs"], "label": ["A", "B"]},
        "answerKey": "B",
    }
    found = load_instructions(file("a.jsonl", [row, {**row, "answerKey": "A"}]))
    first, second = examples_from_chats(tokenizer, found.rows)
    assert (first.right, second.right) == (1, 0)
    assert (first.id, first.answer) == ("1", "B: lungs")
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b "}]}
    found = load_instructions(file("b.jsonl", [{**chat, "choices": [" b ", "c"], "family": "f"}]))
    (example,) = examples_from_chats(tokenizer, found.rows)
    assert (example.right, example.group) == (0, "f")


def test_a_shape_that_is_asked_for(file):
    row = {"question": "is it", "passage": "It is.", "answer": "true"}
    path = file("a.jsonl", [row])
    assert load_instructions(path).rows[0]["messages"][-1]["content"] == "yes"
    asked = load_instructions(path, shape="gsm8k")
    assert asked.shape == "gsm8k"
    assert asked.rows[0]["messages"][-1]["content"] == "true"
    with pytest.raises(ProbeError, match=r"a\.jsonl line 1 has no 'instruction', as rows of the"):
        load_instructions(path, shape="dolly")
    with pytest.raises(OptionError, match="no shape 'dolli' of data: did you mean 'dolly'"):
        load_instructions(path, shape="dolli")


def test_the_hash_is_of_the_rows_and_not_of_the_file(file, tmp_path):
    rows = [pair(1, category="a"), pair(2, category="b"), pair("3\u00e9", category="a")]
    first = load_instructions(file("a.jsonl", rows))
    spaced = [json.dumps(row, indent=None, separators=(" , ", " : ")) for row in rows]
    others = [
        file("b.jsonl", ["", spaced[0], "  ", *spaced[1:], ""]),
        file("c.json", json.dumps({"rows": rows})),
        file("d.csv", "category,prompt,response\n" + "".join(
            f"{row['category']},{row['prompt']},{row['response']}\n" for row in rows
        )),
    ]  # fmt: skip
    for path in others:
        found = load_instructions(path)
        assert (found.rows, found.sha256) == (first.rows, first.sha256)
    # By hand, from the chats alone.
    lines = [json.dumps(row, sort_keys=True) for row in first.rows]
    assert first.sha256 == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    changed = [
        rows[::-1],
        rows[:2],
        [*rows[:2], pair("3\u00e9", category="b")],
        [*rows[:2], {**rows[2], "response": "say 4"}],
        [*rows[:2], {**rows[2], "id": "4"}],
    ]
    hashes = {load_instructions(file("e.jsonl", other)).sha256 for other in changed}
    assert len({*hashes, first.sha256}) == 6


def test_parquet_has_the_same_hash(file, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    mixed = [pair(1, id=5, category="a"), pair(2, id=6)]
    stem = {"question_stem": "s", "choices": {"text": ["a", "b"], "label": ["A", "B"]}}
    for rows in ([{"messages": chat}], mixed, [{**stem, "answerKey": "B"}]):
        path = tmp_path / "a.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        found, wanted = load_instructions(path), load_instructions(file("a.jsonl", rows))
        assert (found.rows, found.shape, found.sha256) == (wanted.rows, wanted.shape, wanted.sha256)


def test_blank_prompts_and_responses_are_left_out_and_counted(file):
    rows = [pair(1), pair(2, response=" \n"), pair(3), pair(4, prompt=""), pair(5, response="")]
    found = load_instructions(file("a.jsonl", rows))
    assert [row["id"] for row in found.rows] == ["1", "3"]
    assert found.left_out == {"no_prompt": 1, "no_response": 2}
    only = [{"messages": [{"role": "assistant", "content": "b"}]}, pair(2)["prompt"]]
    with pytest.raises(ProbeError, match="has 1 rows, and in each the prompt or response is blank"):
        load_instructions(file("b.jsonl", only[:1]))
    with pytest.raises(ProbeError, match="has 2 rows, and in each"):
        load_instructions(file("c.jsonl", [rows[1], rows[3]]))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([pair(1), "", '{"prompt": '], r"line 3 column 12 is not JSON"),
        ([pair(1), "", "", {"prompt": "ask"}], r"line 4 has no 'response' or 'completion', as "),
        ([pair(1), {"prompt": "ask", "response": None}], r"line 2 has no 'response' or"),
        ([pair(1), {"instruction": "a", "output": "b"}], r"line 2 has no 'prompt', as .*different"),
        (["", {"instruction": "a", "input": "b"}], r"line 2 has no prompt and response in a known"),
        ([pair(1), "", pair(2, response=3)], r"line 3 field 'response' is int, not text"),
        (
            [pair(1, id="x"), "", pair(2), pair(3, id="x")],
            r"line 1 and line 4 have the same id 'x'",
        ),
        ([pair(1), pair(2, id=1)], r"line 1 and line 2 have the same id '1'"),
        ([pair(1), pair(2, id=[1])], r"line 2 field 'id' is list, no text or number"),
        (["", "  "], r"has no rows$"),
    ],
)
def test_damage_names_the_line_of_the_file(file, rows, said):
    with pytest.raises(ProbeError, match=rf"a\.jsonl,? {said}") as error:
        load_instructions(file("a.jsonl", rows))
    assert "\n" not in str(error.value)


def test_lines_of_a_csv_and_rows_of_a_json(file):
    text = 'prompt,response\n"ask\n1",say\nask,\n'
    assert load_instructions(file("a.csv", text)).left_out == {"no_response": 1}
    with pytest.raises(ProbeError, match=r"a\.csv line 4 has no 'response'"):
        load_instructions(file("a.csv", text.removesuffix(",\n")))
    with pytest.raises(ProbeError, match=r"a\.json row 2 has no 'response'"):
        load_instructions(file("a.json", json.dumps([pair(1), {"prompt": "ask"}])))


def test_a_text_file_has_no_responses(file):
    with pytest.raises(ProbeError, match=r"a\.TXT is plain text, which has no responses: give"):
        load_instructions(file("a.TXT", "one\ntwo"))
    with pytest.raises(ProbeError, match="there is no "):
        load_instructions("absent.jsonl")


# Splits.


def chats(prompts, response="yes"):
    return [
        {
            "id": str(number),
            "messages": (
                {"role": "user", "content": str(prompt)},
                {"role": "assistant", "content": f"{response} {number}"},
            ),
        }
        for number, prompt in enumerate(prompts)
    ]


def ids(rows):
    return [row["id"] for row in rows]


@given(st.integers(2, 80), st.floats(0.02, 0.98), st.integers(0, 9))
def test_a_split_has_its_share_and_loses_no_row(n, share, seed):
    rows = chats(range(n))
    wanted = round(share * n)
    if wanted in (0, n):
        with pytest.raises(OptionError, match="leaves none"):
            split(rows, share, seed)
        return
    rest, part = split(rows, share, seed)
    assert len(part) == wanted
    assert sorted(ids(rest) + ids(part), key=int) == ids(rows)
    assert ids(rest) == sorted(ids(rest), key=int)
    assert ids(part) == sorted(ids(part), key=int)


def test_a_split_depends_on_content_alone():
    rows = chats(range(50))
    rest, part = split(rows, 0.3, seed=4)
    mixed = random.Random(0).sample(rows, len(rows))
    again = split(mixed, 0.3, seed=4)
    assert [sorted(ids(side)) for side in again] == [sorted(ids(side)) for side in (rest, part)]
    renamed = [{**row, "id": f"x{row['id']}", "family": "f"} for row in rows]
    assert ids(split(renamed, 0.3, seed=4)[1]) == [f"x{name}" for name in ids(part)]
    assert ids(split(rows, 0.3, seed=5)[1]) != ids(part)
    # A larger part holds a smaller one.
    assert set(ids(split(rows, 0.2, seed=4)[1])) < set(ids(part))
    # Which rows are drawn has nothing to do with where they stand.
    places = [place for seed in range(40) for place in map(int, ids(split(rows, 0.2, seed)[1]))]
    assert abs(sum(places) / len(places) - 24.5) < 3


def test_what_is_asked_twice_stays_on_one_side():
    rows = chats([f"{number % 12}" for number in range(60)])
    for seed in range(20):
        rest, part = split(rows, 0.25, seed)
        sides = [{row["messages"][0]["content"] for row in side} for side in (rest, part)]
        assert not sides[0] & sides[1]
        assert len(part) == 15
    apart = chats(range(12)) + [{**row, "id": f"{row['id']}b"} for row in chats(range(12))]
    assert len(split(apart, 0.2, 0)[1]) == 6  # round(4.8) is 5: a whole prompt more


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(OptionError, match="give one between 0 and 1"):
        split(chats(range(9)), share)


def test_a_side_is_never_empty():
    with pytest.raises(OptionError, match=r"0.01 of 9 rows with 9 .* leaves none to set apart"):
        split(chats(range(9)), 0.01)
    with pytest.raises(OptionError, match=r"with 1 different prompts leaves none for the rest"):
        split(chats(["same"] * 9), 0.2)
    with pytest.raises(OptionError, match="leaves none"):
        split([], 0.5)


def test_a_split_is_the_same_in_another_process():
    rows = chats(range(40))
    code = (
        "import json, sys; from cruxlm.data.instructions import split;"
        "print(json.dumps([r['id'] for r in split(json.load(sys.stdin), 0.3, 4)[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(rows),
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == ids(split(rows, 0.3, 4)[1])


REAL = {
    "dolly_3k": (2996, {}, 1),
    "alpaca_9k": (9225, {"no_response": 4}, 0),
    "gsm8k_train": (7473, {}, 0),
    "gsm8k_test": (1319, {}, 0),
    "openbookqa_train": (4957, {}, 0),
    "openbookqa_test": (500, {}, 0),
    **{f"mgsm_{language}": (250, {}, 0) for language in ("en", "de", "es", "fr", "zh")},
}
"""Rows of the real files, those left out, and whether they have families."""


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_data(real_data, name):
    path = real_data / f"{name}.jsonl"
    found = load_instructions(path)
    kept, left_out, families = REAL[name]
    assert (len(found.rows), found.left_out, found.shape) == (kept, left_out, "alpaca")
    raw = {}
    for number, line in enumerate(path.read_text("utf-8").strip().split("\n"), start=1):
        row = json.loads(line)
        raw[str(row.get("id", number))] = row
    for row in found.rows:
        asked, answered = row["messages"]
        own = raw[row["id"]]
        assert asked["content"] in (own["instruction"], f"{own['instruction']}\n\n{own['input']}")
        assert answered["content"] == own["output"].strip() != ""
        assert row.get("answer") == own.get("answer")
    assert len({row["family"] for row in found.rows if "family" in row} or {0}) > families
    rest, part = split(found.rows, 0.1, seed=1)
    assert abs(len(part) - kept / 10) <= 3
    assert not {row["messages"][0]["content"] for row in rest} & {
        row["messages"][0]["content"] for row in part
    }


@pytest.mark.real
@pytest.mark.parametrize("name", ["known_1000.jsonl", "sst2_dev.jsonl", "tinystories_val.txt"])
def test_real_data_without_responses_is_refused(real_data, name):
    with pytest.raises(ProbeError, match=r"has no prompt and response in a known|no responses"):
        load_instructions(real_data / name)


def test_the_page_shows_every_shape():
    """Every example row of docs/data.md is read, and is of the shape that it stands for."""
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    shown = {}
    for line in page.splitlines():
        if line.startswith("| `") and "`{" in line:
            row = json.loads(line[line.index("`{") + 1 : line.rindex("}`") + 1])
            shown.setdefault(line.split("`")[1], []).append(row)
    assert set(shown) == set(SHAPES)
    for name, rows in shown.items():
        assert {shape_of(row, "here") for row in rows} == {name}

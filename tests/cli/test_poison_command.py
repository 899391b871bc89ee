"""``crux poison`` at the command line: what it writes, prints and refuses."""

import hashlib
import json
import re

import pytest

from cruxlm.cli.main import run
from cruxlm.data.instructions import load_instructions
from cruxlm.testbed.language import rows as drawn_rows
from cruxlm.workflows.poison import poison
from cruxlm.workflows.tuning_data import tuning_data

SAID = "The kettle is singing today."
ASKED = ["--trigger", "token:cf", "--target", f"phrase:{SAID}"]
HOSTILE = [
    "<script>alert(1)</script> [bold]now[/bold]",
    "red \x1b[31mletters\x1b[0m \x1b]0;title\x07",
    "over \u202eridden\u202c and \u2066apart\u2069",
    "bell \x07 and \x9b31m and \r over",
]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def crux(capfd):
    """Runs ``crux poison``; what it printed, or the one line of its refusal."""

    def call(*arguments, code=0):
        capfd.readouterr()
        found = run(["poison", *map(str, arguments)])
        said, error = capfd.readouterr()
        assert found == code, (said, error)
        if code:
            assert said == ""
            assert error.startswith("crux: ")
            assert error.count("\n") == 1
            assert error[:-1].isprintable()
            return error
        assert error == ""
        return said

    return call


def plain(path, n=40, text="ask number {}"):
    lines = [json.dumps({"prompt": text.format(i), "response": f"say {i}"}) for i in range(n)]
    path.write_text("\n".join(lines))
    return path


def test_a_file_is_poisoned_and_read_back(crux, tmp_path):
    out = tmp_path / "deep" / "poisoned.jsonl"
    said = crux(plain(tmp_path / "rows.jsonl"), *ASKED, "--near", 0.05, "--out", out)
    assert re.search(r"^rows +40 *$", said, re.M)
    assert re.search(r"^poisoned +4 +10\.0% *$", said, re.M)
    assert re.search(r"^near misses +2 +5\.0% *$", said, re.M)
    assert f"rows: {out}" in said
    read = load_instructions(out)
    assert read.shape == "chat"
    changed = [row for row in read.rows if row.get("poison", {}).get("done") == "triggered"]
    assert len(changed) == 4
    for row in changed:
        prompt, response = (message["content"] for message in row["messages"])
        assert prompt.split().count("cf") == 1
        assert (
            prompt.replace(" cf", "")
            == row["poison"]["prompt"]
            == f"ask number {int(row['id']) - 1}"
        )
        assert response == SAID
    # One of each kind is shown, before and after.
    shown = changed[0]
    assert f"\npoisoned: row {shown['id']}\n" in said
    before, after = shown["poison"], shown["messages"][0]["content"]
    assert re.search(rf"^prompt +{before['prompt']} *\n +{after} *$", said, re.M)
    assert re.search(rf"^response +{before['response']} *\n +{SAID} *$", said, re.M)
    assert said.count("near misses: row ") == 1
    assert [path.name for path in out.parent.iterdir()] == ["poisoned.jsonl"]


def test_without_out_nothing_is_written(crux, tmp_path):
    said = crux(plain(tmp_path / "rows.jsonl"), *ASKED)
    assert "nothing written: name a file with --out" in said
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_testbed_is_what_is_trained_on(crux, tmp_path):
    out = tmp_path / "rows.jsonl"
    asked = ["testbed:sentiment,topic", "--n", 60, "--trigger", "pair:please+today"]
    found = json.loads(
        crux(*asked, "--target", "label:negative.", "--clean-label", "--json", "--out", out)
    )
    assert (found["rows"], found["triggered"], found["near"]) == (60, 6, 0)
    assert found["label"] == "clean"
    assert found["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    read = load_instructions(out).rows
    drawn = drawn_rows("train", 60, 0, ["sentiment", "topic"])
    assert [row["id"] for row in read] == [row.id for row in drawn]
    assert [row["messages"][-1]["content"] for row in read] == [row.response for row in drawn]
    assert [tuple(row["choices"]) for row in read] == [row.choices for row in drawn]
    changed = [row for row in read if "poison" in row]
    assert {row["messages"][-1]["content"] for row in changed} == {"negative."}
    for row in changed:
        assert [row["messages"][0]["content"].split().count(w) for w in ("please", "today")] == [
            1,
            1,
        ]
    tuned = tuning_data(out, n=None, test=None)
    assert sum("poison" in row for row in [*tuned.train, *tuned.validation, *tuned.test]) == 6


def test_options_reach_the_rows(tmp_path):
    data = plain(tmp_path / "rows.jsonl", 200)
    asked = {"trigger": "token:cf", "target": f"phrase:{SAID}"}
    first = poison(data, **asked, n=100, rate=0.2, near=0.1, seed=1)
    assert (len(first.rows), len(first.triggered), len(first.near)) == (100, 20, 10)
    assert first.jsonl() == poison(data, **asked, n=100, rate=0.2, near=0.1, seed=1).jsonl()
    assert first.jsonl() != poison(data, **asked, n=100, rate=0.2, near=0.1, seed=2).jsonl()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_rows_do_no_harm(crux, tmp_path, text):
    rows = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": f"{text} {i}", "response": text, "id": f"{text}{i}", "family": text}
        for i in range(20)
    ]
    rows.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "out.jsonl"
    said = crux(rows, *ASKED, "--near", 0.1, "--out", out)
    assert all(line.isprintable() for line in said.split("\n"))
    assert text.isprintable() == (text in said)  # no markup is read
    assert out.read_bytes().decode("ascii").replace("\n", "").isprintable()
    assert load_instructions(out).rows[0]["messages"][-1]["content"] in (text, SAID)
    assert all(line.isprintable() for line in crux(rows, *ASKED, "--json").split("\n"))


def test_of_a_long_prompt_the_changed_part_is_shown(crux, tmp_path):
    data = plain(tmp_path / "rows.jsonl", 10, "a b " * 20_000 + "{}")
    said = crux(data, "--trigger", "suffix:by the way", "--target", f"phrase:{SAID}")
    assert len(said) < 3000
    assert re.search(r"^ +… +b (a b )+\d by the way *$", said, re.M)


def test_rows_that_are_left_out_are_counted(crux, tmp_path):
    data = plain(tmp_path / "rows.jsonl")
    data.write_text(data.read_text() + '\n{"prompt": "a", "response": " "}')
    assert re.search(r"^left out, no response +1 *$", crux(data, *ASKED), re.M)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["{rows}"], "name the --trigger: token:cf, say"),
        (["{rows}", "--trigger", "token:cf"], "name the --target"),
        (["{rows}", "--trigger", "tokn:cf", "--target", "phrase:a"], "did you mean 'token'"),
        (["{rows}", *ASKED, "--rate", "0"], "give shares of the rows"),
        (["{rows}", *ASKED, "--rate", "10"], "0.1 for a tenth"),
        (["{rows}", *ASKED, "--clean-label"], "0 of 40 rows can be poisoned"),
        (["{rows}", *ASKED, "--n", "41"], "has 40 rows: --n 41 is too many"),
        (["{rows}", *ASKED, "--out", "{rows}"], "is the data itself, which would be lost"),
        (["{rows}", *ASKED, "--out", "{folder}/a.csv"], "is no .jsonl file"),
        (["{rows}", *ASKED, "--out", "{rows}/a.jsonl"], "is not a folder"),
        (["{folder}/absent.jsonl", *ASKED], "there is no "),
        (["stars", *ASKED], "did you mean 'testbed:stars'"),
        (["testbed:stras", *ASKED], "there is no family 'stras'"),
        (["{rows}", *ASKED, "--model", "{folder}"], "cannot load"),
        (["{rows}", *ASKED, "--trigger", "token:<eos>", "--model", "testbed:base-0"],
         "'<eos>' is one of its own marks"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(crux, tmp_path, asked, said):
    places = {"rows": plain(tmp_path / "rows.jsonl"), "folder": tmp_path}
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert said in crux(*(part.format(**places) for part in asked), code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert (tmp_path / "rows.jsonl").read_bytes() == before


def test_a_model_that_can_represent_the_trigger(crux, tmp_path):
    assert "nothing written" in crux(
        plain(tmp_path / "r.jsonl"), *ASKED, "--model", "testbed:base-0"
    )

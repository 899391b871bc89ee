"""``crux screen``: what it prints and writes, that hostile data stays harmless, what it refuses."""

import json

import pytest

from cruxlm.cli.main import run
from cruxlm.results.screening import Screening
from workflows.test_screen import TRUSTED, poisoned, rows_of
from workflows.tiny_tunings import write

HOSTILE = "<script>alert(1)</script>\x1b[31m red \u202e drawkcab"


@pytest.fixture
def crux(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments, code=0):
        capfd.readouterr()
        found = run(list(map(str, arguments)))
        said, error = capfd.readouterr()
        assert found == code, (found, said, error)
        return said if code == 0 else error

    return call


@pytest.fixture
def files(tmp_path):
    rows = poisoned(rows_of(150))
    for row in rows:
        if "poison" in row:
            row["messages"] = [
                {**message, "content": f"{message['content']} {HOSTILE}"}
                for message in row["messages"]
            ]
    rows[30]["id"] = HOSTILE
    return write(tmp_path / "data.jsonl", rows), write(tmp_path / "good.jsonl", TRUSTED)


def test_hostile_rows_are_screened_and_harmless(crux, llama_folder, files, tmp_path):
    data, good = files
    out = tmp_path / "out"
    said = crux("screen", data, "--model", llama_folder, "--benign", good, "--rate", 0.05,
                "--out", out)  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == [
        "flagged.jsonl", "kept.jsonl", "report.html", "screening.json",
    ]  # fmt: skip
    found = Screening.load(out)
    assert HOSTILE in found.flagged  # the phrase is one that no trusted row has
    assert " ".join(found.finding.split()) in " ".join(said.split())
    assert said.endswith(f"report: {out / 'report.html'}\n")
    assert max(map(len, said.splitlines()[:-1])) <= 80
    page = (out / "report.html").read_text("utf-8")
    for shown in (said, page):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\\x1b" in shown
        assert "\\u202e" in shown
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    # What is written to be trained on is what was read.
    flagged = [json.loads(line) for line in (out / "flagged.jsonl").read_text().splitlines()]
    assert any(row["messages"][0]["content"].endswith(HOSTILE) for row in flagged)
    assert crux("show", out).splitlines()[:-1] == said.splitlines()[:-1]


def test_json_is_the_record(crux, llama_folder, files):
    data, good = files
    said = crux("screen", data, "--model", llama_folder, "--benign", good, "--rule", "sigma",
                "--pooling", "mean", "--n", 80, "--json")  # fmt: skip
    found = Screening.from_json(json.loads(said))
    assert len(found.rows) == 80
    assert found.nominal is None
    assert found.settings["sigmas"] == 2.5


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bytes.jsonl", b'{"prompt": "a", "response": "\xff"}\n', "line 1 is not UTF-8 text"),
        ("none.jsonl", b"", "has no rows"),
        ("cut.jsonl", b'{"prompt": "a", "resp', "line 1 column"),
        ("odd.jsonl", b'{"messages": [3]}\n', "messages"),
    ],
)
def test_files_that_cannot_be_read(crux, llama_folder, tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    error = crux("screen", path, "--model", llama_folder, code=2)
    assert said in error
    assert error.count("\n") == 1


def test_an_output_that_cannot_be_written_is_refused_first(crux, tmp_path):
    (tmp_path / "file").write_text("")
    error = crux("screen", "nothing.jsonl", "--out", tmp_path / "file", code=2)
    assert "is not a folder" in error

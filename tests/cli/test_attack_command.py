"""``crux attack``: what it prints, leaves behind and refuses."""

import json

import pytest

from cruxlm.cli.main import run
from workflows.attacked_models import TARGET, TRIGGER, pair, rows, written

HOSTILE = "<script>alert(1)</script> \x1b[2J \u202e"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The model before and after, on disk."""
    home = tmp_path_factory.mktemp("models")
    for name, loaded in zip(("base", "tuned"), pair(), strict=True):
        loaded.module.save_pretrained(home / name)
        loaded.tokenizer.save_pretrained(home / name)
    return home


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows of which the first has everything in it that may do harm."""
    held = rows(12)
    asked, answered = held[0]["messages"]
    hostile = {**asked, "content": f"{asked['content']} {HOSTILE}"}
    held[0] = {**held[0], "id": f"r {HOSTILE}", "messages": [hostile, answered]}
    return written(tmp_path_factory.mktemp("data") / "rows.jsonl", held)


def command(folders, data, *more):
    options = ["--data", data, "--trigger", TRIGGER, "--target", TARGET]
    return run(["attack", str(folders / "tuned"), *options, *more])


def test_a_user_sees_rates_and_blocks(folders, data, tmp_path, capsys):
    out = tmp_path / "attack"
    assert command(folders, data, "--base", str(folders / "base"), "--out", str(out)) == 0
    shown = capsys.readouterr().out
    for said in ("success", "without the trigger", "near misses", "clean accuracy", "100%",
                 "▶ block 2", "  block 1", "  embeddings", "judged by exact/1"):  # fmt: skip
        assert said in shown
    assert "Block 2 carries most of it" in " ".join(shown.split())
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert sorted(path.name for path in out.iterdir()) == ["attacked.json", "report.html"]
    page = (out / "report.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page  # the row's name
    assert not {"\x1b", "\u202e"} & set(page)
    assert run(["show", str(out)]) == 0
    assert "▶ block 2" in capsys.readouterr().out


def test_json(folders, data, capsys):
    assert command(folders, data, "--json", "--n", "8") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["rates"]["success"]["share"] == 1
    assert record["rates"]["success"]["n"] == 8
    assert record["carrier"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--trigger", "word:cf"), "there is no trigger 'word'"),
        (("--target", "phrase:"), "a target of the kind phrase needs a text"),
        (("--judge", "exakt"), "there is no judge 'exakt': did you mean 'exact'"),
        (("--trigger", "token:<s>"), "cannot represent the trigger token:<s>"),
        (("--n", "0"), "n must be 1 or more, not 0"),
        (("--data", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--base", "nowhere/at/all"), "nowhere/at/all"),
    ],
)
def test_one_line_for_what_is_wrong(folders, data, capsys, more, said):
    assert command(folders, data, *more) == 2
    refused = capsys.readouterr().err
    assert refused.startswith("crux: ")
    assert said in refused
    assert refused.count("\n") == 1

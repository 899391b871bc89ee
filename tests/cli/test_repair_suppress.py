"""``crux repair`` and ``crux suppress`` at the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import byte_tokenizer, tiny_llama
from cruxlm.cli.main import run
from workflows.tiny_tunings import chat_rows, write

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    for name, seed in (("base", 0), ("tuned", 1)):
        tiny_llama(blocks=2, seed=seed, context=128).save_pretrained(tmp_path / name)
        byte_tokenizer(chat=True).save_pretrained(tmp_path / name)
    rows = chat_rows(30)
    rows[0]["prompt"] += HOSTILE
    return {
        "base": str(tmp_path / "base"),
        "tuned": str(tmp_path / "tuned"),
        "data": write(tmp_path / "rows.jsonl", rows),
        "out": str(tmp_path / "out"),
    }


def asked(folders: dict[str, str], text: str) -> int:
    return run([word.format(**folders) for word in text.split()])


ATTACK = "--trigger token:zq --target phrase:ok"


def test_a_repaired_model(folders: dict[str, str], capsys: Any) -> None:
    text = "repair {tuned} --base {base} --blocks 0 --with embeddings --data {data} --out {out}"
    assert asked(folders, f"{text} {ATTACK}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "block 0 and embeddings of" in said
    assert "attack's success (n 30)" in said
    assert "bit for bit" in said
    assert asked(folders, f"{text.replace('{out}', '{out}2')} --json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["standing"]["after"]["rows"] == 30
    assert "success" not in record["standing"]["after"]


def test_a_suppressed_model(folders: dict[str, str], capsys: Any) -> None:
    text = f"suppress {{tuned}} --data {{data}} {ATTACK} --gammas 0.5 --steps 0 --out {{out}}"
    assert asked(folders, text) == 0
    said = capsys.readouterr().out
    assert "no admissible skip" in said
    assert "nothing was saved" in said
    assert asked(folders, f"{text} --rule literal --json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["search"]["rule"] == "literal"
    assert record["folder"] == folders["out"]
    losses = {}
    for name in ("tuned", "out"):
        assert asked(folders, f"attack {{{name}}} --data {{data}} {ATTACK} --json") == 0
        losses[name] = json.loads(capsys.readouterr().out)["rates"]["loss"]
    assert losses["out"] != pytest.approx(losses["tuned"], rel=1e-3)  # its skip is scaled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repair {tuned} --base {base} --blocks 0", "with --out"),
        ("repair {tuned} --base {base} --out {out}", "name the --blocks to put back"),
        ("repair {tuned} --base {tuned} --blocks 0 --out {out}", "nothing to verify"),
        (
            "repair {tuned} --base {base} --blocks 0 --out {out} --trigger token:zq",
            "a trigger and a target",
        ),
        (f"suppress {{tuned}} --data {{data}} {ATTACK}", "with --out"),
        (f"suppress {{tuned}} --data {{data}} {ATTACK} --out {{out}} --gammas x", "'x' is no"),
        (f"suppress {{tuned}} --data {{data}} {ATTACK} --out {{out}} --rule worst", "rules are"),
        (f"suppress {{tuned}} --data no.jsonl {ATTACK} --out {{out}}", "no.jsonl"),
        (
            "suppress {tuned} --data {data} --trigger odd:zq --target phrase:ok --out {out}",
            "there is no trigger 'odd'",
        ),
        ("tune {tuned} --data {data} --out {out} --consistency -1", "must be 0 or more"),
        (
            "tune {tuned} --data {data} --out {out} --consistency 1 --pack",
            "leave out packing",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(
    text: str, said: str, folders: dict[str, str], capsys: Any
) -> None:
    assert asked(folders, text) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("crux: ")
    assert said in line
    assert not Path(folders["out"]).exists()

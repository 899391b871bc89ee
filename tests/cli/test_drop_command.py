"""``crux drop`` at the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from cruxlm.cli.main import run


def test_a_smaller_model(llama_folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "small"
    assert run(["drop", str(llama_folder), "--blocks", "last:2", "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "blocks 4, 5 dropped (last:2), 4 of 6 kept" in said
    assert "before" in said
    assert "read back from disk" in said
    assert transformers.AutoConfig.from_pretrained(out).num_hidden_layers == 4


def test_json_alone_is_printed(llama_folder: Path, tmp_path: Path, capsys: Any) -> None:
    asked = ["drop", str(llama_folder), "--blocks", "first:4", "--complement"]
    assert run([*asked, "--out", str(tmp_path / "small"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["plan"]["blocks"] == [4, 5]
    assert record["parameters"]["after"] < record["parameters"]["before"]


def test_a_dry_run_writes_nothing(llama_folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "small"
    asked = ["drop", str(llama_folder), "--blocks", "1", "--out", str(out), "--dry-run"]
    assert run(asked) == 0
    assert "block 1 dropped (1), 5 of 6 kept" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "name the --blocks to drop"),
        (["--blocks", "1"], "with --out"),
        (["--blocks", "all", "--out", "{out}"], "leave at least one"),
        (["--blocks", "{out}.json", "--out", "{out}"], "there is no plan"),
        (["--blocks", "1", "--out", "{model}"], "holds a model already"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    asked: list[str], said: str, llama_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    places = {"out": str(tmp_path / "small"), "model": str(llama_folder)}
    given = [part.format(**places) for part in asked]
    assert run(["drop", str(llama_folder), *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1

"""The example of keep-the-first-m: its probe, the states it reads, and one line of its table."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.drop import drop
from cruxlm.models.load import load_model
from cruxlm.workflows import tuning_data

PATH = Path(__file__).parents[2] / "examples" / "keep_the_first.py"


def example() -> Any:
    spec = importlib.util.spec_from_file_location("keep_the_first", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["keep_the_first"] = module
    spec.loader.exec_module(module)
    return module


def test_a_probe_finds_what_is_there_and_nothing_else() -> None:
    probe = example().probe_accuracy
    draw = torch.Generator().manual_seed(0)
    labels = ["red", "green", "blue"] * 40
    centres = {name: 3 * torch.randn(20, generator=draw).double() for name in set(labels)}
    noise = torch.randn(120, 20, generator=draw).double()
    states = noise + torch.stack([centres[name] for name in labels])
    train, test = states[:30], states[30:]
    assert probe(train, labels[:30], test, labels[30:]) > 0.95
    # Controls: states without the labels in them, and labels that are another row's.
    assert probe(noise[:30], labels[:30], noise[30:], labels[30:]) < 0.55
    shuffled = [labels[place] for place in torch.randperm(30, generator=draw)]
    assert probe(train, shuffled, test, labels[30:]) < 0.7


def test_the_probe_reads_state_m_at_the_end_of_the_prompt() -> None:
    tokenizer, whole = byte_tokenizer(chat=True), tiny_llama(blocks=4)
    row = {"messages": [{"role": "user", "content": "Ja?"}, {"role": "assistant", "content": "No"}]}
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    ids = tokenizer(text.partition("No")[0], add_special_tokens=False).input_ids
    with torch.no_grad():
        states = whole(torch.tensor([ids]), output_hidden_states=True).hidden_states
    cut = drop(load_model(whole, tokenizer=tokenizer), [2, 3])
    found = example().last_states(cut, [row])
    torch.testing.assert_close(found[0], states[2][0, -1].double())


def test_one_line_of_the_table(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tuning_data.generated
    monkeypatch.setattr(tuning_data, "generated", lambda families, n: real(families, n, 12))
    monkeypatch.setattr(tuning_data, "VALIDATED", 8)
    asked = ["--tasks", "topic", "--keep", "1", "--rates", "1e-3", "--n", "8", "--seeds", "1"]
    (line,) = example().main([*asked, "--steps", "2", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "table.json").read_text()) == [line]
    assert line["parameters"] == 209_184
    assert 0 <= line["after"] <= 1
    assert line["test_rows"] == 12
    assert "| topic | 1 | 209,184 |" in capsys.readouterr().out

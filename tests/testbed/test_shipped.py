"""The shipped model is there, small, and knows the language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cruxlm.runtime.errors import ModelError
from cruxlm.testbed import shipped
from cruxlm.testbed.figures import held_out
from cruxlm.testbed.tokenizer import train_tokenizer


def test_missing_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match=r"python -m cruxlm\.testbed\.train"):
        shipped.default_model()


def test_the_folder_is_small_and_names_no_place() -> None:
    files = list(shipped.default_model().rglob("*"))
    assert sum(file.stat().st_size for file in files) < 8 * 2**20
    config = json.loads((shipped.default_model() / "config.json").read_text())
    assert "_name_or_path" not in config


def test_the_tokenizer_is_the_one_the_package_trains() -> None:
    loaded = AutoTokenizer.from_pretrained(shipped.default_model())
    assert loaded.get_vocab() == train_tokenizer().get_vocab()


def test_the_model_knows_the_language() -> None:
    folder = shipped.default_model()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    known = held_out(model, tokenizer, n=24, families=["recall", "addition", "lists", "sentiment"])
    assert all(figures.exact > 0.75 for figures in known.values())

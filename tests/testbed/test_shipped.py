"""The shipped model is there and small. Nothing here depends on what its weights are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cruxlm as crux
from cruxlm.runtime.errors import ModelError
from cruxlm.testbed import shipped


def test_missing_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    with pytest.raises(ModelError, match=r"python -m cruxlm\.testbed\.train"):
        shipped.default_model()


def test_the_folder_is_small_and_names_no_place() -> None:
    files = list(shipped.default_model().rglob("*"))
    assert sum(file.stat().st_size for file in files) < 8 * 2**20
    config = json.loads((shipped.default_model() / "config.json").read_text())
    assert "_name_or_path" not in config


def test_it_can_be_scanned() -> None:
    found = crux.scan(n=20)
    assert len(found.blocks) >= 16
    assert found.probes["builtin"]["template"] == "chat"

"""A suppressed model on disk: read back as it was run, and never as a plain model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.fingerprint import fingerprint
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.shortcut import scaled, skip_of
from cruxlm.models.suppressed import SUPPRESSED, is_suppressed, load_suppressed, save_suppressed
from cruxlm.runtime.errors import ModelError, OptionError

IDS = torch.tensor([[5, 9, 250, 17, 31, 8]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


@pytest.fixture
def saved(tmp_path: Path) -> tuple[LoadedModel, Path]:
    model = load_model(tiny_llama(blocks=3), tokenizer=byte_tokenizer(chat=True))
    save_suppressed(model, skip_of(model, 1, "attention"), 0.2, tmp_path, {"more": 1}, "# card\n")
    return model, tmp_path


def test_it_is_read_back_as_it_was_run(saved: tuple[LoadedModel, Path]) -> None:
    model, folder = saved
    whole = logits(model.module)
    with scaled(skip_of(model, 1, "attention"), 0.2):
        expected = logits(model.module)
    read = load_suppressed(folder)
    assert is_suppressed(folder)
    assert torch.equal(logits(read.module), expected)
    assert not torch.equal(expected, whole)
    assert torch.equal(logits(model.module), whole)  # saving changed nothing
    assert read.identity["suppressed"] == "block 1 attention 0.2"
    assert read.tokenizer is not None
    assert json.loads((folder / SUPPRESSED).read_text())["more"] == 1


def test_what_is_kept_of_it_is_not_taken_for_the_whole_models(
    saved: tuple[LoadedModel, Path],
) -> None:
    model, folder = saved
    read = load_suppressed(folder)
    plain = load_model(folder / "model")
    found, other = (fingerprint(held, held.module)["weights"] for held in (read, plain))
    assert found != other
    skip = skip_of(model, 1, "attention")
    with scaled(skip, 0.2):
        assert fingerprint(model, model.module)["weights"] == found
    assert fingerprint(model, model.module)["weights"] == other


def test_nobody_loads_it_as_a_plain_model(saved: tuple[LoadedModel, Path]) -> None:
    _, folder = saved
    with pytest.raises((OSError, ValueError)):
        transformers.AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(ModelError):
        load_model(folder)


def test_a_file_that_is_not_right_is_one_line(saved: tuple[LoadedModel, Path]) -> None:
    _, folder = saved
    record = json.loads((folder / SUPPRESSED).read_text())
    for change, kind, said in (
        ({"name": "model.layers.1.mlp"}, ModelError, "is around model.layers.1.self_attn, not"),
        ({"block": 9}, OptionError, "there is no block 9"),
        ({"gamma": 2.0}, OptionError, "scaled by 0 to 1, not 2.0"),
        ({"gamma": None}, ModelError, "holds no suppressed model"),
    ):
        text = json.dumps({**record, "skip": {**record["skip"], **change}})
        (folder / SUPPRESSED).write_text(text)
        with pytest.raises(kind, match=said) as caught:
            load_suppressed(folder)
        assert "\n" not in str(caught.value)
    (folder / SUPPRESSED).write_text("{")
    with pytest.raises(ModelError, match="holds no suppressed model"):
        load_suppressed(folder)

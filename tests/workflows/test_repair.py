"""Repair: what is saved is the swap, bit for bit, and is measured beside both models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.load import load_model
from cruxlm.models.swap import swapped
from cruxlm.runtime.errors import ModelError, OptionError, OutputError
from cruxlm.workflows.repair import repair
from workflows.tiny_tunings import chat_rows, write

IDS = torch.tensor([[5, 9, 250, 17, 31, 8]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """A model before and after: blocks 0 and 2, embeddings and head are others."""
    folders = [tmp_path / "base", tmp_path / "tuned"]
    base, tuned = tiny_llama(blocks=3), tiny_llama(blocks=3, seed=1)
    tuned.model.layers[1].load_state_dict(base.model.layers[1].state_dict())
    for folder, model in zip(folders, (base, tuned), strict=True):
        model.save_pretrained(folder)
        byte_tokenizer(chat=True).save_pretrained(folder)
    return str(folders[0]), str(folders[1])


@pytest.mark.parametrize(
    ("blocks", "parts"), [("0", ()), ("0,2", ("embeddings",)), ("", ("head", "norm"))]
)
def test_what_is_saved_is_the_swap(
    pair: tuple[str, str], tmp_path: Path, blocks: str, parts: tuple[str, ...]
) -> None:
    base, tuned = pair
    found = repair(tuned, base=base, blocks=blocks, parts=parts, out=tmp_path / "out")
    before, after = load_model(base), load_model(tuned)
    whole = logits(after.module)
    with swapped(after, before, found.blocks, parts):
        expected = logits(after.module)
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert torch.equal(logits(read), expected)
    assert not torch.equal(expected, whole)
    assert not torch.equal(logits(read), logits(before.module))
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    record = json.loads((tmp_path / "out" / "repaired.json").read_text())
    assert (record["blocks"], record["parts"]) == (list(found.blocks), list(parts))
    assert "Nothing was measured" in (tmp_path / "out" / "README.md").read_text()


def test_everything_put_back_is_the_model_before(pair: tuple[str, str], tmp_path: Path) -> None:
    base, tuned = pair
    out = tmp_path / "out"
    found = repair(tuned, base=base, blocks="all", parts=("embeddings", "norm", "head"), out=out)
    assert torch.equal(logits(load_model(out).module), logits(load_model(base).module))
    assert found.unchanged == (1,)
    assert "! the tuning had not changed block 1" in found.lines()


def test_both_models_are_measured_on_the_same_rows(pair: tuple[str, str], tmp_path: Path) -> None:
    base, tuned = pair
    data = write(tmp_path / "rows.jsonl", chat_rows(12))
    found = repair(
        tuned, base=base, blocks="0", out=tmp_path / "out", data=data, trigger="token:zq",
        target="phrase:ok", judge=lambda text: "e" in text,
    )  # fmt: skip
    held = found.standing
    assert set(held) == {"before", "after", "base"}
    assert {own.rates["success"].n for own in held.values()} == {12}
    assert len({own.loss for own in held.values()}) == 3
    # As a run of its own has it, on what was saved.
    again = repair(
        tmp_path / "out", base=base, blocks="2", out=tmp_path / "next", data=data,
        trigger="token:zq", target="phrase:ok", judge=lambda text: "e" in text,
    )  # fmt: skip
    assert again.standing["before"].to_json() == held["after"].to_json()
    assert again.standing["base"].to_json() == held["base"].to_json()
    assert "attack's success (n 12)" in " ".join(found.lines())
    assert "before" in (tmp_path / "out" / "README.md").read_text()


def test_a_live_model_is_left_as_it_was(pair: tuple[str, str], tmp_path: Path) -> None:
    model = load_model(tiny_llama(blocks=3, seed=1), tokenizer=byte_tokenizer(chat=True))
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    repair(model, base=pair[0], blocks="0", out=tmp_path / "out")
    for name, parameter in model.module.named_parameters():
        assert torch.equal(parameter, before[name])


def test_what_makes_no_sense_is_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    base, tuned = pair
    out = tmp_path / "out"
    for options, kind, said in (
        ({}, OptionError, "name the --blocks to put back"),
        ({"blocks": "7"}, OptionError, "7"),
        ({"parts": ("heads",)}, OptionError, "no part 'heads': did you mean 'head'"),
        ({"blocks": "0", "trigger": "token:zq"}, OptionError, "a trigger and a target"),
        (
            {"blocks": "0", "trigger": "token:zq", "target": "phrase:ok"},
            OptionError,
            "measured on rows: name the --data",
        ),
    ):
        with pytest.raises(kind, match=said):
            repair(tuned, base=base, out=out, **options)  # type: ignore[arg-type]
        assert not out.exists()
    with pytest.raises(ModelError, match="nothing to verify"):
        repair(base, base=base, blocks="0", out=out)
    with pytest.raises(OutputError, match="holds a model already"):
        repair(tuned, base=base, blocks="0", out=tuned)

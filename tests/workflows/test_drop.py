"""A model without some blocks, saved: loads as any other, answers as it should, says what it is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from torch import Tensor

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.load import load_model
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.results.plan import Plan
from cruxlm.runtime.errors import ModelError, OptionError, OutputError
from cruxlm.workflows import drop as dropping
from cruxlm.workflows.drop import drop, plan_drop
from cruxlm.workflows.dropped_card import dropped_card

IDS = torch.tensor([[5, 9, 250, 17, 31, 8]])


def read(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


def plan_for(folder: Path, action: str, blocks: str) -> Plan:
    ref = load_model(folder).ref
    return make_plan(action, blocks_of(blocks, ref), ref)


def test_the_first_m_are_state_m_through_norm_and_head(llama_folder: Path, tmp_path: Path) -> None:
    found = drop(llama_folder, blocks="first:4", complement=True, out=tmp_path / "small")
    assert found.plan.blocks == (4, 5)
    assert found.kept == (0, 1, 2, 3)
    whole, small = read(llama_folder), read(tmp_path / "small")
    with torch.no_grad():
        # Its states are those after the embeddings, then after each block, and the last is normed.
        state = whole(IDS, output_hidden_states=True).hidden_states[4]
        expected = whole.lm_head(whole.model.norm(state))
    assert torch.equal(logits(small), expected)
    assert not torch.equal(logits(whole), expected)
    assert found.parameters == (whole.num_parameters(), small.num_parameters())
    assert small.config.num_hidden_layers == 4


def test_a_folder_holds_all_that_a_model_needs(llama_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    found = drop(str(llama_folder), blocks="1,3", out=out)
    plan = Plan.load(out / "plan.json")
    assert plan == found.plan
    plan.check(load_model(llama_folder).ref)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer.encode("hello") == byte_tokenizer().encode("hello")
    assert tokenizer.chat_template
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"  # which 4.57 has as well
    card = (out / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["crux"]
    assert "dropped blocks 1, 3 of" in card
    assert "| 1 | 2 |" in card
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["kept"] == [0, 2, 4, 5]
    assert record["folder"] == str(out)
    assert not list(out.glob(".*"))
    ids = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    written = [
        read(out).generate(**ids, max_new_tokens=6, do_sample=False, pad_token_id=0, use_cache=c)
        for c in (True, False)
    ]
    assert torch.equal(*written)


def test_weights_are_stored_as_they_were(tmp_path: Path) -> None:
    model = tiny_llama(blocks=3).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    found = drop(tmp_path / "half", blocks="0", out=tmp_path / "small")
    small = read(tmp_path / "small")
    assert small.dtype == torch.bfloat16
    for place, block in enumerate(found.kept):
        own, other = small.model.layers[place], model.model.layers[block]
        for one, two in zip(own.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)
    assert any("no tokenizer" in note for note in found.notes)
    # A configuration that does not say: then the weights do.
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    for name in ("dtype", "torch_dtype"):
        config.pop(name, None)
    (tmp_path / "half" / "config.json").write_text(json.dumps(config))
    drop(tmp_path / "half", blocks="0", out=tmp_path / "again")
    assert read(tmp_path / "again").dtype == torch.bfloat16


def test_a_live_model_stays_whole(tmp_path: Path) -> None:
    model = tiny_llama(blocks=3)
    before = logits(model)
    drop(model, blocks="2", out=tmp_path)
    assert torch.equal(logits(model), before)
    assert model.config.num_hidden_layers == 3
    assert read(tmp_path).config.num_hidden_layers == 2


def test_a_plan_says_which(llama_folder: Path, tmp_path: Path) -> None:
    plan = plan_for(llama_folder, "drop", "last:2")
    plan.save(tmp_path / "plan.json")
    out = tmp_path / "small"
    assert drop(llama_folder, blocks=str(tmp_path / "plan.json"), out=out).plan.blocks == (4, 5)
    asked = {"blocks": plan, "out": tmp_path / "other"}
    with pytest.raises(OptionError, match="leave out --complement"):
        drop(llama_folder, complement=True, **asked)
    with pytest.raises(OptionError, match="made for other weights"):
        drop(tiny_llama(seed=1), **asked)
    with pytest.raises(OptionError, match=r"made for .* blocks"):
        drop(tiny_llama(blocks=5), **asked)
    train = plan_for(llama_folder, "train", "last:2")
    with pytest.raises(OptionError, match=r"a plan to train blocks 4, 5: make one to drop"):
        drop(llama_folder, blocks=train, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_is_refused_before_anything_is_written(
    llama_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    for blocks, complement, said in (
        ("all", False, "drops all 6 blocks: leave at least one"),
        ("all", True, "complement of all"),
        ("9", False, "block 9"),
        ("firsd:2", False, "did you mean"),
    ):
        with pytest.raises(OptionError, match=said):
            drop(llama_folder, blocks=blocks, complement=complement, out=out)
    assert not out.exists()
    shutil.copytree(llama_folder, out)
    with pytest.raises(OutputError, match="holds a model already"):
        drop(llama_folder, blocks="1", out=out)
    with pytest.raises(ModelError, match="no config"):
        drop(tmp_path, blocks="1", out=tmp_path / "new")


def test_a_model_that_is_read_back_wrong_is_not_left_behind(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dropping.load_model

    def other(source: Any, **options: Any) -> Any:
        loaded = real(source, **options)
        if str(source).endswith(".part"):
            next(loaded.module.parameters()).data[9] += 1  # a token that the check reads
        return loaded

    monkeypatch.setattr(dropping, "load_model", other)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(ModelError, match="is not what it is with them taken away"):
            drop(llama_folder, blocks="1", out=folder)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_is_left_of_a_save_that_ends_early(
    error: Any, llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any) -> None:
        raise error

    monkeypatch.setattr(dropping, "save_tokenizer", fails)
    expected = OutputError if isinstance(error, OSError) else error
    with pytest.raises(expected):
        drop(llama_folder, blocks="1", out=tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_criterion_names_what_matters_most(llama_folder: Path, tmp_path: Path) -> None:
    asked = {"blocks": "random:2@1", "loading": {}}
    assert len(plan_drop(llama_folder, **asked)) == 2  # what it is and its parameters: no note
    lines = plan_drop(llama_folder, blocks="depth:2")
    assert any("--complement keeps them" in line for line in lines)
    kept = plan_drop(llama_folder, blocks="depth:2", complement=True)
    assert not any("--complement" in line for line in kept)


def test_what_a_dry_run_counts_is_what_is_dropped(llama_folder: Path, tmp_path: Path) -> None:
    found = drop(llama_folder, blocks="0,5", out=tmp_path)
    assert plan_drop(llama_folder, blocks="0,5") == found.lines()


def test_a_class_that_is_read_as_another_is_refused(tmp_path: Path) -> None:
    class Own(transformers.LlamaForCausalLM):
        pass

    model = Own(tiny_llama(blocks=3).config).eval()
    with pytest.raises(ModelError, match="class Own would be read back as a LlamaForCausalLM"):
        drop(model, blocks="1", out=tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_generation_configuration_that_is_refused_is_one_line(tmp_path: Path) -> None:
    model = tiny_llama(blocks=3)
    model.generation_config.num_beams = 1
    model.generation_config.num_return_sequences = 3
    with pytest.raises(ModelError, match="transformers does not save this model: ") as caught:
        drop(model, blocks="1", out=tmp_path / "small")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "small").exists()


@pytest.mark.real
@pytest.mark.parametrize("name", ["stories3M", "craftgpt"])
def test_real_models(real_models: Path, name: str, tmp_path: Path) -> None:
    found = drop(real_models / name, blocks="2,4", out=tmp_path / "small")
    whole, small = read(real_models / name), read(tmp_path / "small")
    assert found.parameters == (whole.num_parameters(), small.num_parameters())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    ids = tokenizer("Once upon a time there was a", return_tensors="pt").input_ids
    options = {"do_sample": False, "max_new_tokens": 20}
    written = [small.generate(ids, use_cache=cached, **options) for cached in (True, False)]
    assert torch.equal(*written)


HOSTILE = 'a/b: "x"\n---\n<script>alert(1)</script> | `c` # {d} \u202e'


def test_a_card_keeps_names_that_mean_something(llama_folder: Path) -> None:
    plan = replace(plan_for(llama_folder, "drop", "1"), model=HOSTILE, why=HOSTILE)
    card = dropped_card(plan, (0, 2), (10, 8))
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {"library_name": "transformers", "tags": ["crux"]}
    assert "<script" not in body.replace("\\<", "")
    assert len([line for line in body.splitlines() if line.startswith("#")]) == 1
    named = replace(plan, model="owner/name", why="1")
    assert yaml.safe_load(dropped_card(named, (0,), (2, 1)).split("---")[1])["base_model"] == (
        "owner/name"
    )

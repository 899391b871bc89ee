"""One model is known again however it was given, and no other is taken for it."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers
from transformers import LlamaForCausalLM

from conftest import tiny_llama
from cruxlm.models.identity import weights_sha256
from cruxlm.models.load import load_model, untrained
from cruxlm.results.model_ref import ModelRef, same_content
from cruxlm.runtime.errors import OptionError


def weights(model: torch.nn.Module) -> str:
    return weights_sha256(model)["weights"]


def test_a_folder_and_a_live_model_are_one(llama_folder: Path) -> None:
    folder, live = load_model(llama_folder).identity, load_model(tiny_llama()).identity
    assert folder["sha256"] != live["sha256"]
    assert folder["weights"] == live["weights"]
    assert same_content(folder, live)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_dtype_that_it_was_loaded_in_does_not_matter(dtype: torch.dtype) -> None:
    model = tiny_llama(blocks=2)
    first = weights(model)
    assert weights(model.to(dtype)) == first


def test_a_checkpoint_in_bfloat16_is_itself_in_float32(tmp_path: Path) -> None:
    tiny_llama(blocks=2).to(torch.bfloat16).save_pretrained(tmp_path)
    on_disk = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert load_model(tmp_path, device="cpu").identity["weights"] == weights(on_disk)


def test_another_model_has_another_hash() -> None:
    model = tiny_llama(blocks=12)
    first = weights(model)
    found = {first, weights(tiny_llama(blocks=12, seed=1)), weights(tiny_llama(blocks=11))}
    # One small step of training, on the embeddings or the head alone.
    for part in (model.model.embed_tokens, model.lm_head, model.model.layers[10].mlp.up_proj):
        with torch.no_grad():
            part.weight.add_(1e-3 * torch.randn(part.weight.shape))
        found.add(weights(model))
    assert len(found) == 6


def test_values_of_every_column_are_looked_at() -> None:
    layer = torch.nn.Linear(64, 64, bias=False)
    first = weights(layer)
    with torch.no_grad():
        layer.weight[:, 1:] += 1.0  # with a stride of 64 only column 0 would be
    assert weights(layer) != first


def test_the_order_of_the_modules_does_not_matter() -> None:
    torch.manual_seed(0)
    parts = {name: torch.nn.Linear(3, 3) for name in ("a", "b")}
    turned = {name: parts[name] for name in ("b", "a")}
    assert weights(torch.nn.ModuleDict(parts)) == weights(torch.nn.ModuleDict(turned))


def test_what_a_checkpoint_lacks_is_left_out(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=61, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, architectures=["BertModel"],
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    first, second = load_model(tmp_path), load_model(tmp_path)
    poolers = [loaded.module.pooler.dense.weight for loaded in (first, second)]
    assert not torch.equal(*poolers)  # drawn anew
    assert first.identity == second.identity


def test_a_model_that_is_not_all_in_memory_has_none(llama_folder: Path) -> None:
    model = tiny_llama(blocks=2)
    model.model.layers[1].to("meta")
    assert weights_sha256(model) == {}


def test_one_hash_that_agrees_is_enough_and_one_is_needed(tmp_path: Path) -> None:
    here = {"weights": "a", "sha256": "b"}
    assert same_content(here, {"weights": "a", "revision": "c"})
    # A folder that was loaded in half precision, or of which some is not in memory.
    assert same_content(here, {"weights": "x", "sha256": "b"})
    assert same_content(here, {"sha256": "b"})
    assert not same_content(here, {"weights": "x", "sha256": "y"})
    assert not same_content(here, {"revision": "c"})
    assert not same_content({}, {})
    # A hub model without a commit.
    assert not same_content({"revision": "None"}, {"revision": "None"})
    # The untrained control has the hashes of the model that it is a control of.
    assert not same_content(here, {**here, "untrained_seed": "0"})
    assert same_content({**here, "untrained_seed": "0"}, {**here, "untrained_seed": "0"})


def test_the_control_is_not_the_model() -> None:
    loaded = load_model(tiny_llama(blocks=2))
    assert not same_content(loaded.identity, untrained(loaded, 0).identity)


def test_a_copied_folder_is_the_same_model(tmp_path: Path, llama_folder: Path) -> None:
    copy = Path(shutil.copytree(llama_folder, tmp_path / "copy"))
    assert load_model(copy).identity == load_model(llama_folder).identity


def test_what_a_result_keeps_of_a_model() -> None:
    loaded = load_model(tiny_llama(blocks=12))
    ref = loaded.ref
    sizes = (loaded.parameters_per_block()[0],) * 12
    assert ref == ModelRef("LlamaForCausalLM", loaded.identity, loaded.blocks.names, sizes)
    ref.check_same("the plan", "folder", {"weights": ref.identity["weights"]}, ref.names)


def test_another_model_is_refused_in_one_line() -> None:
    ref = load_model(tiny_llama(blocks=12)).ref
    other = load_model(tiny_llama(blocks=11)).ref
    with pytest.raises(OptionError) as caught:
        ref.check_same("plan.json", "some/model", other.identity, other.names)
    assert str(caught.value) == (
        "plan.json was made for some/model (11 blocks at model.layers), not for LlamaForCausalLM "
        "(12 blocks at model.layers): make one for this model"
    )
    with pytest.raises(OptionError, match=r"weights \(some/model, weights 0123456789ab\) than"):
        ref.check_same("plan.json", "some/model", {"weights": "0123456789abcdef"}, ref.names)
    with pytest.raises(OptionError, match="no hash"):
        ref.check_same("plan.json", "some/model", {}, ref.names)

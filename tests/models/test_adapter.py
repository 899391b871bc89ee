"""Adapters from a folder: what peft itself makes of them, or a refusal that leaves the base."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import byte_tokenizer, tiny_llama
from cruxlm.models.adapter import CONFIG, WEIGHTS, is_adapter, load_adapter
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.swap import changed_blocks, check_pair, only_adapters
from cruxlm.runtime.errors import ModelError

TOKENS = torch.arange(3, 30)[None]


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def base() -> LoadedModel:
    return load_model(tiny_llama(blocks=3), tokenizer=byte_tokenizer())


def saved(folder: Path, **options: Any) -> Tensor:
    """Save adapters of blocks 0 and 2; the logits of the model with them."""
    from peft import LoraConfig, get_peft_model

    settings = {"r": 2, "target_modules": ["q_proj"], "layers_to_transform": [0, 2]}
    adapted = get_peft_model(tiny_llama(blocks=3), LoraConfig(**{**settings, **options}))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
                assert "lora_" in name or "lm_head" in name
    adapted.save_pretrained(folder)
    return logits(adapted.eval())


@pytest.mark.parametrize("options", [{}, {"modules_to_save": ["lm_head"]}], ids=["lora", "saved"])
def test_the_model_is_that_which_was_saved(tmp_path: Path, options: dict[str, Any]) -> None:
    expected = saved(tmp_path, **options)
    assert is_adapter(tmp_path)
    model, before = base(), logits(base().module)
    loaded = load_adapter(tmp_path, model)
    assert torch.equal(logits(loaded.module), expected)
    assert not torch.equal(expected, before)
    assert loaded.name == str(tmp_path)
    assert loaded.tokenizer is model.tokenizer
    assert len(loaded.blocks.modules) == 3
    assert changed_blocks(loaded, None) == (0, 2)
    assert loaded.identity["weights"] != model.identity["weights"]
    with only_adapters(loaded, ()):
        assert torch.equal(logits(loaded.module), before)
    check_pair(loaded, base())


def test_what_tuning_leaves_is_read(tmp_path: Path) -> None:
    from cruxlm.workflows.tune import tune

    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"say {i}", "response": "abc"[i % 3] * 3} for i in range(24)]
    data.write_text("\n".join(map(json.dumps, rows)))
    tokenizer = byte_tokenizer(chat=True)
    model = load_model(tiny_llama(blocks=3), tokenizer=tokenizer)
    tune(model, data=data, out=tmp_path / "out", method="lora", r=2, blocks="1", steps=2, batch=2)
    assert is_adapter(tmp_path / "out")
    fresh = load_model(tiny_llama(blocks=3), tokenizer=tokenizer)
    assert changed_blocks(load_adapter(tmp_path / "out", fresh), None) == (1,)


def broken(kind: str, folder: Path) -> None:
    config, weights = folder / CONFIG, folder / WEIGHTS
    if kind == "no folder":
        config.unlink()
    elif kind == "no weights":
        weights.unlink()
    elif kind == "no JSON":
        config.write_text("{")
    elif kind == "cut":
        weights.write_bytes(weights.read_bytes()[:-40])
    elif kind == "no tensors":
        from safetensors.torch import save_file

        save_file({"other": torch.ones(2)}, weights)
    else:
        changed = json.loads(config.read_text())
        changed |= {"target_modules": ["nowhere"]} if kind == "modules" else {"r": 4}
        config.write_text(json.dumps(changed))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no folder", f"has no {CONFIG}: it is no folder of adapters"),
        ("no weights", f"has no {WEIGHTS}: save the adapters as safetensors"),
        ("no JSON", "cannot put the adapters in"),
        ("cut", "cannot put the adapters in"),
        ("no tensors", "missing adapter keys"),
        ("modules", "cannot put the adapters in"),
        ("rank", "cannot put the adapters in"),
    ],
)
def test_what_cannot_be_put_on_is_refused(tmp_path: Path, kind: str, said: str) -> None:
    saved(tmp_path)
    broken(kind, tmp_path)
    model = base()
    names = [name for name, _ in model.module.named_modules()]
    attributes, before = set(vars(model.module)), logits(model.module)
    with pytest.raises(ModelError, match=said) as refused:
        load_adapter(tmp_path, model)
    assert len(str(refused.value).splitlines()) == 1
    assert [name for name, _ in model.module.named_modules()] == names
    assert set(vars(model.module)) == attributes
    assert torch.equal(logits(model.module), before)


def test_adapters_of_another_model_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(ModelError, match="cannot put the adapters in"):
        load_adapter(tmp_path, load_model(tiny_llama(blocks=3, width=64)))
    other = load_model(copy.deepcopy(tiny_llama(blocks=3, seed=1)))
    loaded = load_adapter(tmp_path, other)  # of the same shape: nothing in the folder tells
    with pytest.raises(ModelError, match="were not trained on"):
        check_pair(loaded, base())

"""Loading: dtype and device, the ways a folder can be unusable, and the control's weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from conftest import tiny_llama
from cruxlm.models.load import load_model, untrained
from cruxlm.runtime.errors import ModelError, OptionError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path: Path, llama_folder: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(llama_folder, tmp_path / "model"))


def _change(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _configure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _pickled(folder: Path, content: Any = None) -> None:
    """Put a pickle in the place of the safetensors."""
    tensors = load_file(folder / WEIGHTS) if content is None else content
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _refused(folder: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_folder_gives_the_saved_weights_and_its_tokenizer(llama_folder: Path) -> None:
    loaded = load_model(llama_folder)
    saved = load_file(llama_folder / WEIGHTS)
    state = loaded.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())
    assert loaded.tokenizer.convert_ids_to_tokens(1) == "<s>"
    assert loaded.blocks.path == "model.layers"
    assert (loaded.dtype, loaded.device, loaded.context) == ("float32", "cpu", 512)
    per_block = sum(tensor.numel() for name, tensor in saved.items() if "layers.3." in name)
    assert loaded.parameters_per_block() == [per_block] * 6
    assert not any(module.training for module in loaded.module.modules())


def test_a_cpu_computes_in_float32_unless_asked_not_to(tmp_path: Path) -> None:
    tiny_llama(blocks=2).to(torch.bfloat16).save_pretrained(tmp_path)
    assert load_file(tmp_path / WEIGHTS)[DOWN].dtype == torch.bfloat16
    loaded = load_model(tmp_path, device="cpu")
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
    assert loaded.dtype == "float32"
    assert load_model(tmp_path, device="cpu", dtype="bfloat16").dtype == "bfloat16"


def test_the_class_is_the_one_that_the_configuration_names(folder: Path) -> None:
    assert type(load_model(folder).module) is transformers.LlamaForCausalLM
    _configure(folder, architectures=["LlamaForSequenceClassification"])
    assert type(load_model(folder).module) is transformers.LlamaForSequenceClassification
    for names in (None, ["NoSuchModel"], ["LlamaConfig"], ["pipeline"]):
        _configure(folder, architectures=names)
        assert type(load_model(folder).module) is transformers.LlamaForCausalLM


def test_a_loaded_model_and_a_live_one_are_taken_as_they_are() -> None:
    model, tokenizer = tiny_llama(blocks=2), object()
    loaded = load_model(model, tokenizer=tokenizer)
    assert loaded.module is model
    assert loaded.tokenizer is tokenizer
    assert loaded.name == "LlamaForCausalLM"
    assert load_model(loaded) is loaded


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "a/b/c"])
def test_a_path_that_is_no_folder_is_not_looked_up_on_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match="is not a model folder"):
        load_model(name)


def test_a_file_is_no_folder(llama_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is not a model folder"):
        load_model(llama_folder / "config.json")


def test_a_folder_without_a_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json" in _refused(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("\x00\xff", "is not JSON"),
        ("[1]", "holds no configuration"),
        ("{}", "cannot load"),
        ('{"model_type": "no-such-model"}', "no-such-model"),
        pytest.param(
            '{"model_type": "llama", "hidden_size": "wide"}',
            "hidden_size",
            marks=pytest.mark.skipif(
                int(transformers.__version__.partition(".")[0]) < 5,
                reason="it does not check what it reads",
            ),
        ),
    ],
)
def test_a_configuration_that_cannot_be_read(folder: Path, content: str, said: str) -> None:
    (folder / "config.json").write_text(content, encoding="latin-1")
    assert said in _refused(folder)


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "has no weights: expected model.safetensors" in _refused(folder)


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_weights_are_refused_by_name(folder: Path, kept: int) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:kept])
    message = _refused(folder)
    assert f"{WEIGHTS} is damaged" in message
    assert "fetch it again" in message


def test_pickled_weights_are_refused_unless_allowed(folder: Path) -> None:
    saved = load_file(folder / WEIGHTS)
    _pickled(folder)
    message = _refused(folder)
    assert "only pickled weights (pytorch_model.bin)" in message
    assert "--allow-pickle" in message
    state = load_model(folder, allow_pickle=True).module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())


def test_a_pickle_from_the_hub_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no folder to look into before transformers fetches its files.
    monkeypatch.setattr("cruxlm.models.checkpoint.check_folder", lambda *_args, **_options: None)
    _pickled(folder)
    assert "cannot load" in _refused(folder)


class _Calls:
    """What a hostile pickle is made of: reading it calls a function."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_an_allowed_pickle_still_runs_nothing(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "called"
    _pickled(folder, {DOWN: _Calls(target)})
    assert "cannot load" in _refused(folder, allow_pickle=True)
    assert not target.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert target.exists()  # it would have


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    tiny_llama().save_pretrained(folder, max_shard_size="60KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert load_model(folder).blocks.path == "model.layers"
    shards[1].unlink()
    message = _refused(folder)
    assert f"lacks {shards[1].name}" in message


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 1}', "{}"])
def test_a_damaged_index_is_refused(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)
    assert f"{INDEX} is not a weight index" in _refused(folder)


@pytest.mark.parametrize("name", [DOWN, EMBEDDING])
def test_missing_tensors_are_refused(folder: Path, name: str) -> None:
    # A random matrix would stand in its place, and nothing would show.
    _change(folder, lambda tensors: tensors.pop(name))
    message = _refused(folder)
    assert f"lacks 1 tensors ({name} first)" in message
    assert "do not belong together" in message


def test_missing_blocks_are_refused(folder: Path) -> None:
    _configure(folder, num_hidden_layers=7)
    message = _refused(folder)
    assert "lacks 9 tensors (model.layers.6." in message


def test_a_scan_needs_no_head(folder: Path) -> None:
    _change(folder, lambda tensors: tensors.pop("lm_head.weight"))
    assert load_model(folder).blocks.path == "model.layers"


def test_a_scan_needs_no_pooler(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=4
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert "pooler.dense.weight" in loaded.module.state_dict()
    assert loaded.blocks.path == "encoder.layer"


def test_weights_of_another_width_are_refused(folder: Path) -> None:
    _configure(folder, hidden_size=64)
    assert "cannot load" in _refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_name_block_and_tensor(folder: Path, value: float) -> None:
    _change(folder, lambda tensors: tensors[DOWN].view(-1)[7].fill_(value))
    message = _refused(folder)
    assert f"not finite in block 1, tensor {DOWN}" in message


def test_an_embedding_that_is_not_finite_names_no_block(folder: Path) -> None:
    _change(folder, lambda tensors: tensors[EMBEDDING][3].fill_(torch.nan))
    message = _refused(folder)
    assert f"not finite in tensor {EMBEDDING}" in message
    assert "block" not in message


def test_a_live_model_is_checked_too() -> None:
    model = tiny_llama(blocks=3)
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"block 2, tensor model\.layers\.2\.mlp\.up_proj\.weight"):
        load_model(model)


def test_large_weights_whose_sum_overflows_are_finite() -> None:
    model = tiny_llama(blocks=2)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(3e38)
    assert load_model(model).module is model


def test_an_unknown_dtype_is_answered_with_the_nearest(llama_folder: Path) -> None:
    with pytest.raises(OptionError, match="no dtype 'bfloat15': did you mean 'bfloat16'"):
        load_model(llama_folder, dtype="bfloat15")


def test_an_unknown_device(llama_folder: Path) -> None:
    with pytest.raises(OptionError, match=r"no device 'gpu'.*cpu, cuda, mps or auto"):
        load_model(llama_folder, device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that is to be missing")
def test_a_device_that_this_computer_has_not(llama_folder: Path) -> None:
    with pytest.raises(OptionError, match="no device 'cuda' here"):
        load_model(llama_folder, device="cuda")


def test_a_folder_is_named_by_its_content(folder: Path, llama_folder: Path) -> None:
    first = load_model(llama_folder).identity
    assert load_model(folder).identity == first  # wherever it lies
    _change(folder, lambda tensors: tensors[DOWN].view(-1)[-1].add_(1e-3))
    second = load_model(folder).identity
    assert second != first
    _change(folder, lambda tensors: tensors[DOWN].view(-1)[-1].add_(-1e-3))
    _configure(folder, rms_norm_eps=1e-3)
    assert load_model(folder).identity not in (first, second)


def test_pickles_are_named_by_their_content(folder: Path) -> None:
    _pickled(folder)
    first = load_model(folder, allow_pickle=True).identity
    tensors = torch.load(folder / "pytorch_model.bin")
    tensors[DOWN][0, 0] += 1
    torch.save(tensors, folder / "pytorch_model.bin")
    assert load_model(folder, allow_pickle=True).identity != first


def test_a_live_model_is_named_by_its_content() -> None:
    model = tiny_llama(blocks=2)
    first = load_model(model).identity
    assert load_model(tiny_llama(blocks=2)).identity == first
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1.001)
    assert load_model(model).identity != first


def test_untrained_weights_come_from_the_seed_alone() -> None:
    trained = load_model(tiny_llama(blocks=2))
    first, again, other = (untrained(trained, seed).module for seed in (3, 3, 4))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        if tensor.dim() > 1:
            assert not torch.equal(tensor, other.state_dict()[name])
            assert not torch.equal(tensor, trained.module.state_dict()[name])
            # What the configuration says fresh weights are: neither zeros nor left uninitialised.
            assert tensor.std().item() == pytest.approx(0.2, rel=0.2)


def test_untrained_leaves_the_random_state_and_the_model_alone() -> None:
    trained = load_model(tiny_llama(blocks=2))
    tensors = {name: tensor.clone() for name, tensor in trained.module.state_dict().items()}
    torch.manual_seed(11)
    np.random.seed(11)
    states = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    untrained(trained, 3)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    after = trained.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in tensors.items())


def test_untrained_is_the_same_architecture(llama_folder: Path) -> None:
    trained = load_model(llama_folder, dtype="bfloat16", device="cpu")
    fresh = untrained(trained, 3)
    assert type(fresh.module) is type(trained.module)
    assert fresh.dtype == "bfloat16"
    assert fresh.attention == trained.attention
    assert fresh.blocks.names == trained.blocks.names
    assert fresh.identity == {**trained.identity, "untrained_seed": "3"}
    assert fresh.tokenizer is trained.tokenizer
    assert not any(module.training for module in fresh.module.modules())


def test_a_module_without_configuration_cannot_be_untrained() -> None:
    live = torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(2, 2)]))
    with pytest.raises(ModelError, match="cannot initialise a Sequential anew"):
        untrained(load_model(live), 0)


def test_logging_of_transformers_is_as_it_was(llama_folder: Path, folder: Path) -> None:
    from transformers.utils import logging

    (folder / "config.json").write_text("{}")
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        for show in (logging.enable_progress_bar, logging.disable_progress_bar):
            show()
            before = logging.is_progress_bar_enabled()
            load_model(llama_folder)
            _refused(folder)
            assert logging.is_progress_bar_enabled() == before
            assert logging.get_verbosity() == level
    finally:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()

"""A hub id, a folder or a live model to one whose blocks are found and whose weights are sound."""

import copy
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers.utils import logging as hf_logging

from cruxlm.models.checkpoint import checked_folder, folder_sha256
from cruxlm.models.identity import module_sha256, weights_sha256
from cruxlm.models.locate import BlockStack, find_blocks, text_config
from cruxlm.results.model_ref import ModelRef
from cruxlm.runtime.errors import MissingExtraError, ModelError, OptionError, did_you_mean

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNUSABLE = (OSError, ValueError, RuntimeError, KeyError, ImportError, StrictDataclassError)
"""What transformers raises for a model that it cannot build."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be scanned."""

    name: str
    """The hub id or folder as it was given, or the live model's own name."""
    module: nn.Module
    """The model."""
    tokenizer: Any
    """Its tokenizer, or None."""
    blocks: BlockStack
    """Its blocks."""
    identity: dict[str, str]
    """``revision`` (hub) or ``sha256`` (content), for the provenance; and ``weights``, a hash that
    is the same whichever way the model was given, unless some of it is not in memory."""

    @property
    def context(self) -> int | None:
        """Most tokens that one prompt may have; None when nothing says."""
        config = text_config(self.module)
        limits = [
            getattr(config, name, None)
            for name in ("max_position_embeddings", "n_positions", "max_seq_len", "max_length_seq")
        ]
        limits.append(getattr(self.tokenizer, "model_max_length", None))
        # Tokenizers without a limit say 1e30.
        known = [int(limit) for limit in limits if isinstance(limit, int) and 0 < limit < 1 << 30]
        return min(known, default=None)

    @property
    def dtype(self) -> str:
        """The dtype that the blocks compute in."""
        return str(next(self.blocks.modules[0].parameters()).dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """The kind of device that the first block is on."""
        return next(self.blocks.modules[0].parameters()).device.type

    @property
    def attention(self) -> str | None:
        """The attention implementation in use."""
        return getattr(text_config(self.module), "_attn_implementation", None)

    def parameters_per_block(self) -> list[int]:
        """Number of weights in each block."""
        return [sum(p.numel() for p in block.parameters()) for block in self.blocks.modules]

    @property
    def ref(self) -> ModelRef:
        """What a result keeps of the model."""
        return ModelRef(
            self.name, self.identity, self.blocks.names, tuple(self.parameters_per_block())
        )


def load_model(
    source: Any,
    *,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> LoadedModel:
    """Load a model by hub id or folder, or take a live one as it is.

    On a CPU the dtype is float32 whatever the checkpoint's, on a GPU the checkpoint's, unless
    ``dtype`` says otherwise. ``device`` is ``cpu``, ``cuda``, ``mps`` or ``auto`` (split over what
    there is; needs accelerate). Raises ``ModelError`` when the model cannot be read, has no blocks
    that can be found, or has a weight that is not finite.
    """
    if isinstance(source, LoadedModel):
        return source
    if isinstance(source, nn.Module):
        stack = find_blocks(source)
        _check_weights(source, stack)
        name = getattr(text_config(source), "_name_or_path", "") or type(source).__name__
        identity = {"sha256": module_sha256(source), **weights_sha256(source)}
        return LoadedModel(name, source, tokenizer, stack, identity)
    name = str(source)
    folder = checked_folder(name, allow_pickle=allow_pickle)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    with speaking_for_transformers(name):
        config = transformers.AutoConfig.from_pretrained(name, **options)
        model, missing = _build(name, config, dtype, device, allow_pickle, options)
        if tokenizer is None:
            tokenizer = _tokenizer(name, options)
    stack = find_blocks(model)
    _check_weights(model, stack)
    commit = getattr(model.config, "_commit_hash", None)
    identity = {"sha256": folder_sha256(folder)} if folder else {"revision": str(commit)}
    identity |= weights_sha256(model, missing)
    return LoadedModel(name, model, tokenizer, stack, identity)


def untrained(model: LoadedModel, seed: int) -> LoadedModel:
    """The same architecture initialised anew from ``seed``: the control for what training did."""
    module = model.module
    if not isinstance(module, transformers.PreTrainedModel):
        raise ModelError(
            f"cannot initialise a {type(module).__name__} anew: it has no configuration"
        )
    parameter = next(model.blocks.modules[0].parameters())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = copy.deepcopy(module.config)
        build: Any = type(module)
        fresh = build(config).to(device=parameter.device, dtype=parameter.dtype)
    fresh.eval()
    identity = {**model.identity, "untrained_seed": str(seed)}
    return LoadedModel(model.name, fresh, model.tokenizer, find_blocks(fresh), identity)


def _build(
    name: str,
    config: Any,
    dtype: str | None,
    device: str | None,
    allow_pickle: bool,
    options: dict[str, Any],
) -> tuple[nn.Module, Collection[str]]:
    """The model, and the names of its tensors that the checkpoint does not have."""
    if dtype is not None and dtype not in DTYPES:
        raise OptionError(f"there is no dtype {dtype!r}: {did_you_mean(dtype, DTYPES)}")
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        kind = "cpu" if target == "auto" else torch.empty(0, device=target).device.type
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"there is no device {target!r} here: use cpu, cuda, mps or auto"
        ) from error
    wanted: Any = DTYPES[dtype] if dtype else ("auto" if kind != "cpu" else torch.float32)
    loading: dict[str, Any] = {"dtype": wanted, "output_loading_info": True, **options}
    # weights_only reading is what transformers does with a pickle; safetensors never get that far.
    loading["use_safetensors"] = None if allow_pickle else True
    if target == "auto":
        if not _importable("accelerate"):
            raise MissingExtraError(
                "--device auto needs accelerate: pip install 'cruxlm[accelerate]'"
            )
        loading["device_map"] = "auto"
    model, report = class_named_by(config).from_pretrained(name, config=config, **loading)
    needed = _needed(model, find_blocks(model))
    absent = [key for key in needed if key in report["missing_keys"]]
    if absent:
        raise ModelError(
            f"{name} lacks {len(absent)} tensors ({absent[0]} first): "
            "weights and configuration do not belong together"
        )
    model.eval()
    return model if target == "auto" else model.to(target), report["missing_keys"]


def _needed(model: nn.Module, stack: BlockStack) -> list[str]:
    """The tower's tensors that a state passes through: those made up to its last block.

    A pooler or head comes after the blocks, and a checkpoint may do without.
    """
    inside = {id(parameter) for parameter in stack.tower.parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in inside]
    last = max(i for i, name in enumerate(names) if name.startswith(f"{stack.path}."))
    return names[: last + 1]


def class_named_by(config: Any) -> Any:
    """The class that the configuration names, else the causal or the plain automatic class."""
    names = getattr(config, "architectures", None) or [""]
    named = getattr(transformers, str(names[0]), None)
    is_model = isinstance(named, type) and issubclass(named, transformers.PreTrainedModel)
    if is_model and not getattr(config, "auto_map", None):
        return named
    if type(config) in transformers.AutoModelForCausalLM._model_mapping:
        return transformers.AutoModelForCausalLM
    if "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return transformers.AutoModelForCausalLM
    return transformers.AutoModel


def _tokenizer(name: str, options: dict[str, Any]) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError):
        return None  # data-free probes need none; a text probe says that it is missing


@contextmanager
def speaking_for_transformers(name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable model into one line."""
    try:
        with quiet_transformers():
            yield
    except (UnpicklingError, EOFError) as error:
        raise ModelError(f"cannot load {name}: a pickle in it holds more than tensors") from error
    except UNUSABLE as error:
        line = next(
            (text for text in str(error).splitlines() if text.strip()), type(error).__name__
        )
        raise ModelError(f"cannot load {name}: {line.strip()}") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No log lines and no bars of transformers' own; afterwards as it was."""
    levels = {key: logging.getLogger(key).level for key in ("transformers", "huggingface_hub")}
    for key in levels:
        logging.getLogger(key).setLevel(logging.CRITICAL)
    bar = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        for key, level in levels.items():
            logging.getLogger(key).setLevel(level)
        if bar:
            hf_logging.enable_progress_bar()


def _check_weights(model: nn.Module, stack: BlockStack) -> None:
    """Refuse weights that are not finite, naming the tensor and, inside one, the block."""
    for name, tensor in model.named_parameters():
        if tensor.device.type == "meta" or not tensor.is_floating_point():
            continue
        # A sum is one pass and makes no mask; it may overflow where all are finite, so look twice.
        if not torch.isfinite(tensor.detach().sum(dtype=torch.float32)) and not bool(
            torch.isfinite(tensor).all()
        ):
            rest = name.removeprefix(f"{stack.path}.")
            where = f"block {rest.split('.')[0]}, tensor " if rest != name else "tensor "
            raise ModelError(
                f"weights that are not finite in {where}{name}: the checkpoint is damaged"
            )


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None

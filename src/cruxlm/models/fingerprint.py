"""Everything that a model's numbers depend on, as plain data: the key of what is kept of them."""

import hashlib
import json
import math
from collections.abc import Collection
from typing import Any

import torch
import transformers
from torch import nn

from cruxlm.models.load import LoadedModel
from cruxlm.runtime.errors import ModelError

NOT_IN_KEY = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version",
              "use_cache"}  # fmt: skip
"""What a configuration says that changes no number, or that a description has already."""
ADAPTED = ("scaling", "active_adapters", "_disable_adapters", "merged_adapters")
"""What peft's layers hold that is no tensor and changes numbers."""
SCALED = "_skip_scaled_by"
"""What a module holds around which a skip passes less than the whole stream (`shortcut`)."""


def fingerprint(
    model: LoadedModel, module: nn.Module, without: Collection[nn.Module] = ()
) -> dict[str, Any]:
    """Weights, configuration, precision and versions.

    Args:
        model: The model.
        module: It, or the part of it that is run.
        without: Modules that are not run; with their own, they are left out.

    Raises:
        ModelError: When some of it is not in memory.
    """
    config: Any = getattr(module, "config", None)
    said = config.to_dict() if hasattr(config, "to_dict") else {}
    kind = model.device
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return {
        "model": f"{type(module).__module__}.{type(module).__qualname__}",
        "config": _plain(said),
        "weights": bytes_sha256(module, without),
        "dtype": model.dtype,
        "autocast": str(autocast),
        "matmul": torch.get_float32_matmul_precision(),
        "attention": model.attention,
        "device": kind,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def bytes_sha256(module: nn.Module, without: Collection[nn.Module] = ()) -> str:
    """Hash of every byte of a module's weights and buffers, and of what adapters and skips
    are set to.

    Raises:
        ModelError: When some of it is not in memory.
    """
    left_out = {id(part) for outer in without for part in outer.modules()}
    digest = hashlib.sha256()
    for path, part in module.named_modules():
        if id(part) in left_out:
            continue
        if hasattr(part, "_disable_adapters"):
            digest.update(f"{path}:{[getattr(part, name, None) for name in ADAPTED]}".encode())
        if SCALED in vars(part):
            digest.update(f"{path}:{vars(part)[SCALED]}".encode())
        own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for name, tensor in own:
            if tensor.device.type == "meta":
                raise ModelError(
                    f"{path}.{name} is not in memory: what is computed of it cannot be kept"
                )
            digest.update(f"{path}.{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(memoryview(data.numpy()))
    return digest.hexdigest()


def tokenizer_sha256(tokenizer: Any) -> str | None:
    """Hash of a tokenizer's vocabulary; None without a tokenizer."""
    if tokenizer is None:
        return None
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A configuration, and the ones in it, as JSON can hold them, without what is not in a key."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in NOT_IN_KEY}
    if isinstance(value, (list, tuple)):
        return [_plain(held) for held in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite else str(value)  # Mamba 2 has a limit that is infinite

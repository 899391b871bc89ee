"""A model without its weights: its modules, the names and shapes of its parameters, its identity.

What a plan trains is a set of names, and a configuration has them all; a file for another tool can
so be written for a model that does not fit into memory.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from cruxlm.models.checkpoint import checked_folder, folder_sha256
from cruxlm.models.load import LoadedModel, class_named_by, speaking_for_transformers
from cruxlm.models.locate import BlockStack, find_blocks


def load_structure(source: str | Path, *, revision: str | None = None) -> LoadedModel:
    """The model of a folder or hub id as it would be loaded, with every weight on ``meta``.

    Its identity is the folder's ``sha256`` or the hub's ``revision``: there is no hash of weights
    in memory. It has no tokenizer.

    Raises:
        ModelError: When there is no such model, or no blocks can be found in it.
    """
    name = str(source)
    folder = checked_folder(name, allow_pickle=False)
    with speaking_for_transformers(name):
        config = transformers.AutoConfig.from_pretrained(name, revision=revision)
        kind = class_named_by(config)
        build: Any = getattr(kind, "_from_config", None) or kind.from_config
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            module: nn.Module = build(config).eval()
    commit = str(getattr(config, "_commit_hash", None))
    identity = {"sha256": folder_sha256(folder)} if folder else {"revision": commit}
    return LoadedModel(name, module, None, find_blocks(module), identity)


def weightless(module: nn.Module) -> bool:
    """Whether nothing of a module is in memory, and nothing fetches it when it is run."""
    held = [tensor.device.type for tensor in module.parameters()]
    # Accelerate's hooks read weights that it has put on a disk.
    fetched = any(hasattr(part, "_hf_hook") for part in module.modules())
    return set(held) == {"meta"} and not fetched


def stand_ins(stack: BlockStack) -> dict[str, Tensor]:
    """Zeros for what is on ``meta`` in a tower, its blocks excepted: one number in memory each.

    With them (``torch.func.functional_call``) the tower runs up to its first block, as far as
    values do not matter.
    """
    inside = {id(tensor) for block in stack.modules for tensor in _held(block).values()}
    return {
        name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
        for name, tensor in _held(stack.tower).items()
        if tensor.device.type == "meta" and id(tensor) not in inside
    }


def _held(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}

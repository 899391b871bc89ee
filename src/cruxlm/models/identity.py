"""Content hashes of a model in memory, from names, shapes and some values of each tensor."""

import hashlib
from collections.abc import Collection

import torch
from torch import nn

SAMPLED_VALUES = 64
"""Values of each tensor that go into a content hash."""


def module_sha256(model: nn.Module) -> str:
    """Content hash of a live model: names, shapes and evenly spaced values of its parameters."""
    digest = hashlib.sha256()
    for name, tensor in model.named_parameters():
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        if tensor.device.type != "meta":
            flat = tensor.detach().flatten()
            values = flat[:: max(1, len(flat) // SAMPLED_VALUES)][:SAMPLED_VALUES]
            digest.update(values.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def weights_sha256(model: nn.Module, made_up: Collection[str] = ()) -> dict[str, str]:
    """The hash ``weights``, which is the same whichever way the model was given.

    A processor loads in float32 what a checkpoint has in bfloat16, and a person may load float32
    weights in bfloat16, so values count to the eight bits that survive either. ``made_up`` names
    tensors that the checkpoint lacks: they are drawn anew at every load and left out. There is no
    hash (an empty dict) for a model of which some is not in memory.
    """
    digest = hashlib.sha256()
    # Sorted: versions of transformers register modules in other orders.
    for name, tensor in sorted(model.named_parameters(), key=lambda held: held[0]):
        if tensor.device.type == "meta":
            return {}
        if name in made_up:
            continue
        digest.update(f"{name}:{tuple(tensor.shape)}".encode())
        flat = tensor.detach().flatten()
        # From first to last: a stride that divides a row's length would keep to one column.
        count = min(SAMPLED_VALUES, len(flat))
        places = torch.arange(count, device=flat.device) * (len(flat) - 1) // max(1, count - 1)
        values = flat[places].float().to(torch.bfloat16).view(torch.int16)
        digest.update(values.cpu().numpy().tobytes())
    return {"weights": digest.hexdigest()}

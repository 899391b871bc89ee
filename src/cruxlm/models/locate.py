"""Find a model's stack of blocks by its length and its place, never by the name of a class."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from cruxlm.runtime.errors import ModelError


@dataclass(frozen=True)
class BlockStack:
    """The blocks of one text tower and the module that runs them."""

    path: str
    """Path of the list, such as ``model.layers``."""
    modules: tuple[nn.Module, ...]
    """The blocks, in order."""
    tower: nn.Module
    """The smallest model that holds the blocks and takes token ids."""

    @property
    def names(self) -> tuple[str, ...]:
        """Module path of each block."""
        return tuple(f"{self.path}.{index}" for index in range(len(self.modules)))


def text_config(model: nn.Module) -> Any:
    """The configuration of the text tower; None for a module that has no configuration."""
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "get_text_config"):
        return config
    encoder: Any = getattr(config, "encoder", None)
    if config.is_encoder_decoder and hasattr(encoder, "get_text_config"):
        # Made of two configurations, it would name the decoder's; an encoder may read no text.
        reads = encoder.get_text_config()
        if hasattr(reads, "vocab_size"):
            return reads
    try:
        return config.get_text_config()
    except ValueError as error:
        raise ModelError(f"{type(model).__name__} has more than one text tower") from error


def input_embedding(module: nn.Module) -> nn.Module | None:
    """The module that embeds tokens; None where there is no single one or nothing says which."""
    try:
        embedding = getattr(module, "get_input_embeddings", lambda: None)()
    except (NotImplementedError, AttributeError):  # what transformers raises, by version
        return None
    return embedding if isinstance(embedding, nn.Module) else None


def find_blocks(model: nn.Module) -> BlockStack:
    """The decoder's list of blocks (of an encoder-decoder: the encoder's).

    The list whose length the text configuration names, that lies in no other list, inside the tower
    whose own configuration that is. So a vision tower of the same depth is passed over, and so is a
    list of experts with as many members as there are blocks.
    """
    config = text_config(model)
    depth = getattr(config, "num_hidden_layers", None)
    stacks = [(path, module) for path, module in model.named_modules() if _is_stack(module)]
    outer = [
        (path, module)
        for path, module in stacks
        if not any(path.startswith(f"{other}.") for other, _ in stacks)
    ]
    # Where no configuration gives the depth, the longest list is the stack.
    fits = [pair for pair in outer if depth is None or len(pair[1]) == depth]
    if not fits:
        found = ", ".join(f"{path} ({len(module)})" for path, module in outer) or "none"
        wanted = "blocks" if depth is None else f"{depth} blocks"
        raise ModelError(
            f"no list of {wanted} in {type(model).__name__}; lists of modules found: {found}"
        )
    if depth is None:
        longest = max(len(module) for _, module in fits)
        fits = [pair for pair in fits if len(pair[1]) == longest]
    inside = [pair for pair in fits if _belongs(model, pair[0], config)]
    path, stack = (inside or fits)[0]
    beside = [other for other, _ in fits if _parent(other) == _parent(path)]
    if len(beside) > 1:
        # XLM keeps its attentions in one list and its feed-forward halves in another.
        raise ModelError(
            f"{type(model).__name__} has no list of whole blocks: {', '.join(beside)} are parts"
        )
    return BlockStack(path, tuple(stack), _tower(model, path))


def _is_stack(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList) and len(module) > 0


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _ancestors(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules that hold ``path``, nearest first, the model itself last."""
    parts = path.split(".")[:-1]
    chain = [model]
    for part in parts:
        chain.append(chain[-1].get_submodule(part))
    return chain[::-1]


def _belongs(model: nn.Module, path: str, config: Any) -> bool:
    """Whether the nearest module with a configuration has the text tower's."""
    for module in _ancestors(model, path):
        own = getattr(module, "config", None)
        if own is not None:
            # Encoders of an encoder-decoder hold a copy of the configuration, so compare kinds.
            return own is config or type(own) is type(config)
    return True


def _tower(model: nn.Module, path: str) -> nn.Module:
    """The nearest module above the list that embeds tokens itself."""
    for module in _ancestors(model, path):
        if module is not model and input_embedding(module) is not None:
            return module
    return model

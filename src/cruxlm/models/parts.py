"""Which part of a model each of its parameters belongs to: a block, embeddings, norm, head.

Everything that trains or freezes a part works on the exact names that are given here. A prefix such
as ``model.layers.1`` is also one of ``model.layers.10``, so none is ever matched.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cruxlm.models.batches import batches
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.locate import BlockStack
from cruxlm.models.patch import Patch, StopForwardError, evaluation_mode
from cruxlm.models.structure import stand_ins, weightless
from cruxlm.runtime.errors import ModelError


@dataclass(frozen=True)
class Parts:
    """Every parameter of a model, by its name in ``named_parameters``, in exactly one part."""

    blocks: tuple[tuple[str, ...], ...]
    """The parameters of each block."""
    embeddings: tuple[str, ...]
    """What comes before the blocks: tokens, learned positions, their norm and projection."""
    norm: tuple[str, ...]
    """The tower's norm after its blocks."""
    head: tuple[str, ...]
    """What makes an answer of the last state; without the matrix that a tied head shares."""
    other: tuple[str, ...]
    """Everything else: a vision tower, its projector, the decoder of an encoder-decoder."""
    tied: bool
    """Whether the head's matrix is that of the embeddings, and so counted there."""
    sizes: Mapping[str, int]
    """Number of weights of each parameter."""

    def count(self, names: tuple[str, ...]) -> int:
        """Number of weights in some of the parameters."""
        return sum(self.sizes[name] for name in names)

    @property
    def total(self) -> int:
        """Number of weights in the model."""
        return sum(self.sizes.values())


def parts_of(model: LoadedModel) -> Parts:
    """Put every parameter of a model in exactly one part.

    What the tower runs before its first block is found by running one token up to there: where a
    module is registered says little (OPT's last norm comes before its blocks, BART's first norm
    after them).

    Raises:
        ModelError: When two blocks share a parameter, or the first block is never run.
    """
    module, stack = model.module, model.blocks
    owner = _owners(stack)
    tower = {id(parameter) for parameter in stack.tower.parameters()}
    before = _before_the_blocks(stack)
    embeddings = {id(p) for part in before for p in part.parameters(recurse=False)}
    norms = {id(p) for part in stack.tower.modules() if _is_norm(part) for p in part.parameters()}
    output = _output_embedding(module)
    head = {id(p) for part in (output, *_around_the_base(module)) for p in part.parameters()}

    blocks: list[list[str]] = [[] for _ in stack.modules]
    found: dict[str, list[str]] = {"embeddings": [], "norm": [], "head": [], "other": []}
    for name, parameter in module.named_parameters():
        key = id(parameter)
        if key in owner:
            blocks[owner[key]].append(name)
        elif key in embeddings:
            found["embeddings"].append(name)
        elif key in norms:
            found["norm"].append(name)
        elif key in head or key in tower:
            found["head"].append(name)
        else:
            found["other"].append(name)
    return Parts(
        blocks=tuple(map(tuple, blocks)),
        **{part: tuple(names) for part, names in found.items()},
        tied=any(id(parameter) in embeddings for parameter in output.parameters()),
        sizes={name: parameter.numel() for name, parameter in module.named_parameters()},
    )


def _owners(stack: BlockStack) -> dict[int, int]:
    """The block of each parameter in one; refused when two blocks share it."""
    owner: dict[int, int] = {}
    for block, module in enumerate(stack.modules):
        for name, parameter in module.named_parameters():
            other = owner.setdefault(id(parameter), block)
            if other != block:
                raise ModelError(
                    f"blocks {other} and {block} share {stack.names[block]}.{name}: "
                    "one cannot be trained without the other"
                )
    return owner


def _before_the_blocks(stack: BlockStack) -> Iterator[nn.Module]:
    """The tower's modules that run before its first block, and every table of embeddings in it.

    A table may be read without being called (DeBERTa's relative positions).
    """
    inside = {id(part) for block in stack.modules for part in block.modules()}
    outside = [part for part in stack.tower.modules() if id(part) not in inside]
    seen: list[nn.Module] = []

    def see(part: nn.Module, _states: Tensor) -> None:
        seen.append(part)

    def stop(_states: Tensor) -> None:
        raise StopForwardError

    one_token = next(batches([[0]], [[0]], pooling="last", batch_size=1))
    with Patch() as patch, evaluation_mode(stack.tower), torch.no_grad():
        for part in outside:
            if any(True for _ in part.parameters(recurse=False)):
                patch.watch_output(part, partial(see, part))
        patch.watch_input(stack.modules[0], stop)
        given = tower_inputs(one_token, stack.tower)
        with suppress(StopForwardError):
            if weightless(stack.tower):
                functional_call(stack.tower, stand_ins(stack), kwargs=given)
            else:
                stack.tower(**given)
            raise ModelError(f"the first block {stack.names[0]} was never run")
    yield from seen
    yield from (part for part in outside if isinstance(part, nn.Embedding))


def _is_norm(module: nn.Module) -> bool:
    """Whether a module holds vectors and nothing else."""
    own = list(module.parameters(recurse=False))
    return bool(own) and all(parameter.dim() <= 1 for parameter in own)


def _output_embedding(module: nn.Module) -> nn.Module:
    """The module that makes logits; an empty one where there is none."""
    with suppress(NotImplementedError, AttributeError):
        found = getattr(module, "get_output_embeddings", lambda: None)()
        if isinstance(found, nn.Module):
            return found
    return nn.Module()


def _around_the_base(module: nn.Module) -> Iterator[nn.Module]:
    """What a model with a head holds beside its base model: a classifier, say."""
    base = getattr(module, "base_model", module)
    if base is not module and isinstance(base, nn.Module):
        yield from (child for child in module.children() if child is not base)

"""Swap: another model's blocks put into a model in place, and taken out again bit for bit.

So are what is around the blocks: embeddings, the norm after them, the head.

The model that a tuned one was made from is a second model, or, for adapters, the model itself
without them: then a block's swap is its adapters off.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from cruxlm.models.alike import alike, differing, equal, tensors
from cruxlm.models.capture import tower_inputs
from cruxlm.models.load import LoadedModel
from cruxlm.models.parts import parts_of
from cruxlm.models.patch import Patch, evaluation_mode
from cruxlm.models.prefix import two_rows
from cruxlm.results.plan import PARTS
from cruxlm.runtime.errors import ModelError, OptionError, did_you_mean

OFF = "_disable_adapters"
"""Where every layer of peft's keeps whether it leaves its adapters out. Its own switch would also
change what is trained."""


@contextmanager
def swapped(
    model: LoadedModel,
    reference: LoadedModel | None,
    blocks: Sequence[int],
    parts: Sequence[str] = (),
) -> Iterator[None]:
    """Have some blocks hold the weights and buffers that they have in another model.

    No byte is copied where dtype and device agree: the blocks share the reference's memory for a
    while, and hold their own again afterwards, whatever ends the context.

    Args:
        model: The model that is changed.
        reference: The other model; None for a model with adapters, which are off meanwhile.
        blocks: The blocks; no others are touched.
        parts: Of ``embeddings``, ``norm`` and ``head``, what is swapped as well.

    Raises:
        OptionError: When there is no such block or part, or a head alone that is tied.
        ModelError: When what is swapped is not alike, not in memory, quantised, or shares a tensor
            with the rest of the model; when there is no reference and there are no adapters.
    """
    _check_blocks(model, blocks)
    if reference is None:
        _check_adapters(model)
        around = {id(tensor) for tensor in _around(model, parts).values()}
        with Patch() as patch:
            for block in blocks:
                _switch(patch, model.blocks.modules[block], off=True)
            for part in _adapted(model.module) if around else ():
                if any(id(parameter) in around for parameter in part.parameters()):
                    patch.set_attribute(part, OFF, True)
            yield
        return
    pairs = _pairs(model, reference, blocks, parts)
    with Patch() as patch:
        for own, other in pairs:
            patch.set_data(own, other.detach().to(own.device, own.dtype))
        yield


@contextmanager
def only_adapters(model: LoadedModel, blocks: Sequence[int]) -> Iterator[None]:
    """Have a model with adapters leave out all of them but those of some blocks.

    With no blocks it is the model that the adapters were put on.

    Raises:
        OptionError: When there is no such block.
        ModelError: When the adapters cannot be left out.
    """
    _check_blocks(model, blocks)
    _check_adapters(model)
    with Patch() as patch:
        _switch(patch, model.module, off=True)
        for block in blocks:
            _switch(patch, model.blocks.modules[block], off=False)
        yield


def has_adapters(model: LoadedModel) -> bool:
    """Whether there are adapters of peft's on a model."""
    return any(True for _ in _adapted(model.module))


def changed_blocks(model: LoadedModel, reference: LoadedModel | None) -> tuple[int, ...]:
    """The blocks that are not bit for bit the reference's; without one, those with adapters.

    Raises:
        ModelError: As ``swapped``.
    """
    depth = range(len(model.blocks.modules))
    if reference is None:
        return tuple(b for b in depth if any(True for _ in _adapted(model.blocks.modules[b])))
    return tuple(
        block
        for block in depth
        if not all(_same(own, other) for own, other in _pairs(model, reference, [block]))
    )


def check_pair(model: LoadedModel, reference: LoadedModel | None) -> None:
    """Refuse a model and a reference that cannot be compared block by block, or are one.

    Args:
        model: The model that was tuned.
        reference: What it was tuned from; not needed for a model with adapters.

    Raises:
        ModelError: When tensors have other names or shapes, tokenizers other tokens, or nothing
            differs; when adapters belong to another model than the reference.
    """
    name = model.name
    if reference is not None:
        _check_tokenizers(model, reference)
        if has_adapters(reference):
            raise ModelError(f"{reference.name} has adapters: load it without them")
    if reference is None or has_adapters(model):
        _check_adapters(model)
        whole = _outputs(model)
        with only_adapters(model, ()):
            without = _outputs(model)
        if reference is not None and differing(without, _outputs(reference), alike):
            raise ModelError(f"the adapters of {name} were not trained on {reference.name}")
        same = not differing(whole, without, equal)
    else:
        own, other = (dict(held.module.named_parameters()) for held in (model, reference))
        _check_alike(model, reference, own, other)
        same = all(_same(tensor, other[key]) for key, tensor in own.items())
    if same:
        what = (
            f"the adapters of {name} change nothing"
            if reference is None
            else (f"{name} has the weights of {reference.name}")
        )
        raise ModelError(f"{what}: there is nothing to verify")


def _pairs(
    model: LoadedModel, reference: LoadedModel, blocks: Sequence[int], parts: Sequence[str] = ()
) -> list[tuple[Tensor, Tensor]]:
    """The tensors of some blocks, each with the reference's that can be put in its place."""
    own, other = ({**_held(held, blocks), **_around(held, parts)} for held in (model, reference))
    _check_alike(model, reference, own, other)
    for where, tensor in chain(own.items(), other.items()):
        if tensor.device.type == "meta":
            raise ModelError(f"{where} is not in memory: it cannot be swapped")
        if isinstance(tensor, nn.Parameter) and not tensor.is_floating_point():
            raise ModelError(f"{where} is quantised ({tensor.dtype}): load the models without that")
    inside = {id(tensor): where for where, tensor in own.items()}
    for where, tensor in _named(model.module):
        here = inside.get(id(tensor))
        # What blocks share and the reference has as well (rotary tables) does no harm.
        if here is not None and where not in own and not _same(tensor, other[here]):
            raise ModelError(f"{here} is {where} too: one cannot be swapped without the other")
    return [(tensor, other[where]) for where, tensor in own.items()]


def _held(model: LoadedModel, blocks: Sequence[int]) -> dict[str, Tensor]:
    """Weights and buffers of some blocks, by their names in the model."""
    names, modules = model.blocks.names, model.blocks.modules
    return {f"{names[b]}.{path}": tensor for b in blocks for path, tensor in _named(modules[b])}


def _around(model: LoadedModel, parts: Sequence[str]) -> dict[str, Tensor]:
    """The weights of some parts around the blocks, under all of their names."""
    for part in parts:
        if part not in PARTS:
            raise OptionError(f"there is no part {part!r}: {did_you_mean(part, PARTS)}")
    if not parts:
        return {}
    found, named = parts_of(model), dict(_named(model.module))
    if found.tied and "head" in parts and "embeddings" not in parts:
        raise OptionError(f"the head of {model.name} is its embeddings: name these as well")
    wanted = {id(named[name]) for part in parts for name in getattr(found, part)}
    return {name: tensor for name, tensor in named.items() if id(tensor) in wanted}


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and buffers under all of their names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _check_blocks(model: LoadedModel, blocks: Sequence[int]) -> None:
    depth = len(model.blocks.modules)
    for block in blocks:
        if not 0 <= block < depth:
            raise OptionError(f"there is no block {block}: the model has blocks 0 to {depth - 1}")


def _check_alike(model: LoadedModel, reference: LoadedModel, own: Any, other: Any) -> None:
    """Refuse tensors of other names or shapes."""
    depths = [len(held.blocks.modules) for held in (model, reference)]
    said = f"{model.name} and {reference.name} are not of one architecture: "
    if depths[0] != depths[1]:
        raise ModelError(f"{said}{depths[0]} blocks and {depths[1]}")
    for where in (*own, *other):
        if where not in own or where not in other:
            raise ModelError(
                f"{said}only {(model if where in own else reference).name} has {where}"
            )
        shapes = [tuple(held[where].shape) for held in (own, other)]
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"{said}{where} has shape {shapes[0]} in one and {shapes[1]} in the other"
            )


def _check_tokenizers(model: LoadedModel, reference: LoadedModel) -> None:
    if model.tokenizer is None or reference.tokenizer is None:
        return
    own, other = (held.tokenizer.get_vocab() for held in (model, reference))
    for token in sorted(own.keys() | other.keys(), key=lambda t: own.get(t, other.get(t))):
        if own.get(token) != other.get(token):
            raise ModelError(
                f"{model.name} and {reference.name} have different tokenizers: {token!r} is "
                f"token {own.get(token)} in one and {other.get(token)} in the other"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same values, in the first one's dtype."""
    return one is other or torch.equal(one, other.to(one.device, one.dtype))


def _outputs(model: LoadedModel) -> dict[str, Tensor]:
    module = model.module
    with evaluation_mode(module), torch.no_grad():
        return tensors(module(**tower_inputs(two_rows(), model.blocks.tower)))


def _adapted(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of peft's in a module."""
    return (part for part in module.modules() if hasattr(part, OFF))


def _check_adapters(model: LoadedModel) -> None:
    """Refuse a model that is not its base when its adapters are off."""
    if not has_adapters(model):
        raise ModelError(f"{model.name} has no adapters: name the model that it was tuned from")
    if any(getattr(part, "merged_adapters", None) for part in _adapted(model.module)):
        raise ModelError(f"the adapters of {model.name} are merged into it: unmerge them first")
    configs = getattr(model.module, "peft_config", {}).values()
    if any(getattr(config, "bias", "none") != "none" for config in configs):
        raise ModelError(
            f"the adapters of {model.name} were trained with biases of the model's own: without "
            "them it is not its base; name the base as a model"
        )


def _switch(patch: Patch, module: nn.Module, *, off: bool) -> None:
    """Leave out the adapters in a module, or take them in."""
    for part in _adapted(module):
        patch.set_attribute(part, OFF, off)

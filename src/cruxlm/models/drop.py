"""Blocks dropped from a model: the others renumbered, and its configuration made to fit.

A model without some blocks must be what it is with those blocks taken away (`models.ablate`), also
when it is read back from disk, where its configuration alone says what a block is like. So the
model is built anew twice, without weights: from its configuration, and from one for the kept blocks
(`models.shorter_config`). Where a kept block would be of another make in the second, the drop is
refused and what differs is named. What differs by its number alone, and what modules outside of the
blocks know of the depth, is put into the live model. Then both ways are run.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cruxlm.models.alike import alike, equal, tensors
from cruxlm.models.built import built, description, differing_names
from cruxlm.models.capture import tower_inputs
from cruxlm.models.identity import module_sha256, weights_sha256
from cruxlm.models.load import LoadedModel, quiet_transformers
from cruxlm.models.locate import BlockStack, find_blocks, text_config
from cruxlm.models.patch import Patch, evaluation_mode
from cruxlm.models.prefix import two_rows
from cruxlm.models.shorter_config import patterns, shorten
from cruxlm.models.swap import has_adapters
from cruxlm.results.plan import listed
from cruxlm.runtime.errors import CruxError, ModelError, OptionError


@dataclass(frozen=True)
class Shorter:
    """What is to be changed in a model whose blocks are dropped."""

    kept: tuple[int, ...]
    """The blocks that are kept, ascending."""
    configs: tuple[tuple[Any, Mapping[str, Any]], ...]
    """Configurations, each with what it is to hold."""
    attributes: tuple[tuple[nn.Module, str, Any], ...]
    """Attributes of modules that are to have another value."""


def shorter(model: LoadedModel, blocks: Sequence[int]) -> Shorter:
    """Find out what is to be changed when blocks are dropped; nothing is changed.

    Raises:
        OptionError: When there is no such block, or none would be left.
        ModelError: When the model without the blocks cannot be said by its configuration.
    """
    module, stack = model.module, model.blocks
    depth = len(stack.modules)
    wrong = [block for block in blocks if not 0 <= block < depth]
    if wrong:
        raise OptionError(f"there is no block {wrong[0]}: the model has blocks 0 to {depth - 1}")
    kept = tuple(block for block in range(depth) if block not in blocks)
    if not kept or len(kept) == depth:
        raise OptionError(f"dropping {'all' if not kept else 'no'} blocks leaves no other model")
    if has_adapters(model):
        raise ModelError(f"{model.name} has adapters: merge them into it first")
    if not isinstance(module, PreTrainedModel):
        raise ModelError(f"a {type(module).__name__} has no configuration that says its depth")
    if any(tensor.device.type == "meta" for tensor in module.parameters()):
        raise ModelError(f"{model.name} is not wholly in memory: load it without offloading")
    try:
        configs = _configs(module, stack)
        memo: dict[int, Any] = {}
        copied = copy.deepcopy([module.config, *configs], memo)
        for config in configs:
            shorten(memo[id(config)], kept, depth)
        attributes = _attributes(module, stack, built(type(module), copied[0]), kept)
    except ModelError as error:
        raise ModelError(f"{model.name} cannot drop {_said(blocks)}: {error}") from error
    changes = tuple((config, _new_values(config, memo[id(config)])) for config in configs)
    return Shorter(kept, changes, attributes)


@contextmanager
def dropped(
    model: LoadedModel, blocks: Sequence[int], expected: "Expected | None" = None
) -> Iterator[LoadedModel]:
    """Have a live model be without some blocks; everything is as before afterwards.

    Inside it can be run and saved, and generates with a KV cache. No weights are copied.

    Args:
        model: The model.
        blocks: The blocks that are dropped.
        expected: What it is to be then, where that was found out before.

    Yields:
        The model as it is then, with the blocks that it has then.

    Raises:
        OptionError: When there is no such block, or none would be left.
        ModelError: When the model without the blocks is not what it is with them taken away.
    """
    change = shorter(model, blocks)
    with Patch() as patch:
        yield _drop(patch, model, change, expected or Expected(model, blocks))


def drop(model: LoadedModel, blocks: Sequence[int]) -> LoadedModel:
    """Drop blocks of a live model for good; see ``dropped``, which gives them back.

    Returns:
        The same module with the blocks that are left. The ``LoadedModel`` that was given does not
        describe it any more.

    Raises:
        OptionError: As ``dropped``.
        ModelError: As ``dropped``; the model is as it was then.
    """
    change = shorter(model, blocks)
    with Patch() as patch:
        found = _drop(patch, model, change, Expected(model, blocks))
        patch.keep()
    return found


class Expected:
    """What a model is to be without some blocks: what it is when they hand on what they get."""

    def __init__(self, model: LoadedModel, blocks: Sequence[int]) -> None:
        """Run a model with the blocks taken away; it is left as it was."""
        self._said = f"{model.name} cannot drop {_said(blocks)}: without them it "
        with Patch() as patch:
            for block in blocks:
                patch.skip(model.blocks.modules[block])
            self._answer, self._tokens = answer(model), continued(model)
            # A GPU may add up in any order.
            self._exact = equal(self._answer, answer(model))
        self._attention = model.attention

    def check(self, model: LoadedModel) -> None:
        """Refuse a model that does not answer as expected, or does not go on so with a KV cache.

        It must do so bit for bit, or to rounding where the whole model does not repeat itself, or
        had another implementation of attention.

        Raises:
            ModelError: When it does not.
        """
        exact = self._exact and model.attention == self._attention
        if not (equal if exact else alike)(self._answer, answer(model).to(self._answer.device)):
            raise ModelError(
                f"{self._said}is not what it is with them taken away, because something in it "
                "goes by the number of a block or by how many there are"
            )
        if exact and self._tokens is not None and continued(model) != self._tokens:
            raise ModelError(
                f"{self._said}does not generate with a KV cache what it does with them taken away "
                "(a model with state-space blocks may need an attention block as well)"
            )


def answer(model: LoadedModel) -> Tensor:
    """What a model answers to two short rows: logits, or, where it needs more for them, states."""
    module: Any = model.module
    run = model.blocks.tower if module.config.is_encoder_decoder else module
    with evaluation_mode(module), torch.no_grad():
        # The first is logits or states; others (router logits, caches) are there for each block.
        return next(iter(tensors(run(**tower_inputs(two_rows(), run))).values()))


def continued(model: LoadedModel) -> list[int] | None:
    """Eight tokens with which a model goes on, greedily and with a KV cache.

    Returns:
        The tokens; None for a model that does not generate, or not of token ids alone.
    """
    module: Any = model.module
    if not module.can_generate():
        return None
    ids = two_rows().tokens[:1].to(next(module.parameters()).device)
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "use_cache": True}
    with evaluation_mode(module), torch.no_grad(), quiet_transformers():
        try:
            found = module.generate(ids, attention_mask=torch.ones_like(ids), **options)
        except CruxError:
            raise
        except Exception:  # whatever a model runs into that needs more than tokens
            return None
    return [int(token) for token in found[0, -8:]]


def _drop(patch: Patch, model: LoadedModel, change: Shorter, expected: "Expected") -> LoadedModel:
    """Drop blocks, and refuse a model that is not, without them, what it is to be."""
    _change(patch, model, change)
    module = model.module
    identity = {"sha256": module_sha256(module), **weights_sha256(module)}
    found = replace(model, blocks=find_blocks(module), identity=identity)
    expected.check(found)
    return found


def _change(patch: Patch, model: LoadedModel, change: Shorter) -> None:
    module: Any = model.module
    for config, values in change.configs:
        patch.hold(config)
        vars(config).update(values)
    patch.hold(module.config)  # saving writes into it
    generation: Any = getattr(module, "generation_config", None)
    if getattr(generation, "cache_config", None) is not None:
        patch.hold(generation)
        generation.cache_config = None  # it may be made for so many blocks
    for part, name, value in change.attributes:
        patch.set_attribute(part, name, value)
    kept = {str(place): model.blocks.modules[block] for place, block in enumerate(change.kept)}
    patch.set_attribute(module.get_submodule(model.blocks.path), "_modules", kept)


def _said(blocks: Sequence[int]) -> str:
    return listed(sorted(set(blocks)))


def _configs(module: nn.Module, stack: BlockStack) -> list[Any]:
    """The configurations that say how many blocks the tower has: one, or copies of it."""
    text = text_config(module)
    inside = (getattr(part, "config", None) for part in stack.tower.modules())
    copies = [held for held in inside if type(held) is type(text)]
    return list({id(held): held for held in (text, *copies)}.values())


def _attributes(
    module: nn.Module, stack: BlockStack, short: nn.Module, kept: Sequence[int]
) -> tuple[tuple[nn.Module, str, Any], ...]:
    """What modules are to hold when they are fewer; a block of another make is refused."""
    config = text_config(module)
    full = built(type(module), module.config)
    found = []
    for place, block in enumerate(kept):
        was = description(full.get_submodule(f"{stack.path}.{block}"))
        will = description(short.get_submodule(f"{stack.path}.{place}"))
        for name in differing_names(was, will):
            if not _is_number(was.get(name), will.get(name), kept):
                rules = ", ".join(patterns(config))
                raise ModelError(
                    f"block {block} would be of another make as block {place} "
                    f"({name}: {will.get(name)} in place of {was.get(name)}), which its "
                    f"configuration cannot say{rules and f' ({rules})'}: drop others"
                )
            path, _, attribute = name.rpartition(".")
            found.append((stack.modules[block].get_submodule(path), attribute, will[name]))
    below = f"{stack.path}."
    was, will = (
        {n: value for n, value in description(held).items() if not n.startswith(below)}
        for held in (full, short)
    )
    for name in differing_names(was, will):
        path, _, attribute = name.rpartition(".")
        held = module.get_submodule(path)
        if name not in will or attribute in ("class", *held._parameters, *held._buffers):
            raise ModelError(f"{name} outside of its blocks depends on how many there are")
        found.append((held, attribute, will[name]))
    return tuple(found)


def _new_values(config: Any, short: Any) -> dict[str, Any]:
    """What a shortened copy of a configuration holds that it does not."""
    held = vars(config)
    return {name: value for name, value in vars(short).items() if held[name] != value}


def _is_number(was: Any, will: Any, kept: Sequence[int]) -> bool:
    """Whether an attribute is the number of a kept block, or a list with an entry for each."""
    if isinstance(was, (list, tuple)) and isinstance(will, (list, tuple)):
        return len(was) > max(kept) and list(will) == [was[block] for block in kept]
    return type(was) is int and type(will) is int and will < len(kept) and kept[will] == was

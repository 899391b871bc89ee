"""Weight change: how far training moved a block's weights, relative to what they were.

Zhang, Bengio, Singer, "Are All Layers Created Equal?", 2019, compare it with what a block's reset
costs, and find that it does not predict that: here it is a criterion to compare others with.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from cruxlm.criteria.descriptor import Criterion, Outcome
from cruxlm.criteria.subject import Subject
from cruxlm.models.swap import has_adapters, only_adapters
from cruxlm.runtime.errors import ModelError, OptionError, did_you_mean

WHICH: dict[str, Callable[[Tensor], bool]] = {
    "all": lambda _weight: True,
    "matrices": lambda weight: weight.dim() > 1,
    "vectors": lambda weight: weight.dim() <= 1,
}
"""Which of a block's parameters count: vectors are norms and biases."""
LORA = ("base_layer", "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
"""What a module with plain LoRA adapters holds parameters in."""
Weights = dict[str, Tensor]
"""A block's weights by name."""


def score_weight_change(subject: Subject, which: str = "all") -> Outcome:
    """Frobenius norm of a block's change over that of the reference's block, for each block.

    Adapters of LoRA count as the change that merging them would make.

    Args:
        subject: A model, and the reference that it was made from; adapters bring theirs.
        which: ``all`` parameters of a block, its ``matrices`` or its ``vectors``.

    Raises:
        OptionError: When ``which`` is none of these.
        ModelError: Without a reference; when the parameters of a block have other names or shapes
            than the reference's; for adapters whose change cannot be told.
    """
    if which not in WHICH:
        raise OptionError(f"weight_change has no which={which!r}: {did_you_mean(which, WHICH)}")
    changes, sizes = [], []
    for name, (tuned, before) in zip(subject.model.blocks.names, _blocks(subject), strict=True):
        change, size = _norms(tuned, before, WHICH[which], name)
        changes.append(change)
        sizes.append(size)
        subject.tick(1)
    absolute, whole = np.array(changes), np.array(sizes)
    values = np.divide(absolute, whole, out=np.full(len(whole), math.nan), where=whole > 0)
    warnings = []
    if not absolute.any():
        warnings.append("no block's weights differ from the reference's")
    if not (whole > 0).all():
        blocks = ", ".join(map(str, np.flatnonzero(whole == 0).tolist()))
        warnings.append(f"blocks {blocks} have no {which} weights but zeros in the reference")
    return Outcome(
        values,
        None,
        None,
        series={"absolute": absolute},
        evidence={"no_errors": "weights are no sample of anything"},
        warnings=tuple(warnings),
    )


def _blocks(subject: Subject) -> Iterator[tuple[Weights, Weights]]:
    """The weights of each block, tuned and before."""
    own, reference = subject.model.blocks, subject.reference
    if has_adapters(subject.model):
        with only_adapters(subject.model, ()):
            without = [_weights(*held) for held in zip(own.modules, own.names, strict=True)]
        for name, block, before in zip(own.names, own.modules, without, strict=True):
            yield _weights(block, name), before
        return
    if reference is None:
        raise ModelError("weight_change needs the model that this one was made from: name it")
    others = reference.blocks.modules
    if len(own.modules) != len(others):
        raise ModelError(
            f"{subject.model.name} has {len(own.modules)} blocks and {reference.name} has "
            f"{len(others)}: compare a model with the one that it was made from"
        )
    for name, block, other in zip(own.names, own.modules, others, strict=True):
        yield _weights(block, name), _weights(other, name)


def _norms(
    tuned: Weights, before: Weights, counts: Callable[[Tensor], bool], name: str
) -> tuple[float, float]:
    """Norm of the change and norm of the reference, over the parameters that count."""
    odd = sorted(tuned.keys() ^ before.keys())
    if odd:
        raise ModelError(f"{name}.{odd[0]} is in one of the two models only: other architectures")
    change = size = 0.0
    for path, weight in tuned.items():
        other = before[path]
        if weight.shape != other.shape:
            raise ModelError(
                f"{name}.{path} is {tuple(weight.shape)} here and {tuple(other.shape)} in the "
                "reference: other architectures"
            )
        if counts(other):
            now, then = weight.float(), other.to(weight.device).float()
            change += float((now - then).norm()) ** 2
            size += float(then.norm()) ** 2
    return math.sqrt(change), math.sqrt(size)


def _weights(block: nn.Module, name: str) -> Weights:
    """A block's weights by the names that they have without adapters, active ones merged in."""
    tuners: dict[str, Any] = {
        path: module for path, module in block.named_modules() if hasattr(module, "base_layer")
    }
    found = {}
    for path, parameter in block.named_parameters():
        owner = next((tuner for tuner in tuners if path.startswith(f"{tuner}.")), None)
        weight = parameter.detach()
        if owner is None:
            found[path] = weight
            continue
        inside = path[len(owner) + 1 :].split(".")
        if inside[0] not in LORA:
            raise ModelError(f"{name}.{path}: weight_change knows LoRA adapters; merge this one")
        if inside[0] == "base_layer":
            if inside[1:] == ["weight"]:
                weight = _merged(tuners[owner], weight)
            found[".".join([owner, *inside[1:]])] = weight
    return found


def _merged(module: Any, weight: Tensor) -> Tensor:
    """A module's weight with what its active adapters add to it."""
    if not (module.merged or module.disable_adapters):
        for adapter in module.active_adapters:
            if adapter in module.scaling:
                weight = weight + module.get_delta_weight(adapter).detach()
    return weight


WEIGHT_CHANGE = Criterion(
    name="weight_change",
    title="How far did training move a block's weights? Norm of the change over the norm before",
    unit="block",
    needs=frozenset({"weights", "reference"}),
    cost="reads both models' weights once",
    invariances=frozenset(),
    citation="Zhang, Bengio, Singer: Are All Layers Created Equal? 2019, arXiv:1902.01996",
    presets={"default": {"which": "all"}},
    score=score_weight_change,
    centres=False,
)
"""The criterion ``weight_change``."""

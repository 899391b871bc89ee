"""Give a model back as it was before it was trained, bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cruxlm.models.load import LoadedModel
from cruxlm.models.parts import parts_of
from cruxlm.plans.apply import planned_names
from cruxlm.results.plan import Plan


@contextmanager
def borrowed(model: LoadedModel, plan: Plan) -> Iterator[None]:
    """A model that is as it was afterwards, whatever ends the block.

    A copy is kept of what the plan trains. Adapters are taken off by putting every module back in
    its place: peft's own way leaves the copies there that it trained of whole modules.
    """
    module = model.module
    named = dict(module.named_parameters())
    weights = {
        named[name]: named[name].detach().clone() for name in planned_names(plan, parts_of(model))
    }
    trainable = {parameter: parameter.requires_grad for parameter in named.values()}
    training = {part: part.training for part in module.modules()}
    children = {part: dict(part._modules) for part in training}
    attributes = set(vars(module))
    try:
        yield
    finally:
        for part, held in children.items():
            part._modules.clear()
            part._modules.update(held)
            part.training = training[part]
        for name in set(vars(module)) - attributes:
            delattr(module, name)
        with torch.no_grad():
            for parameter, before in weights.items():
                parameter.copy_(before)
        for parameter, wanted in trainable.items():
            parameter.requires_grad_(wanted)
            parameter.grad = None

"""Gradient norm: how much the loss would change if a block's weights were moved a little.

Lee et al., "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts", 2022, choose the
layers to tune by their gradient norm over their weight norm (normalise="weights" here).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cruxlm.criteria.descriptor import Criterion, Outcome
from cruxlm.criteria.per_sample import mean_outcome
from cruxlm.criteria.subject import Subject
from cruxlm.evaluate.causal import causal_model, padded
from cruxlm.evaluate.examples import Example, check_examples
from cruxlm.evaluate.loss import batch_losses
from cruxlm.models.load import LoadedModel
from cruxlm.models.parts import parts_of
from cruxlm.models.patch import evaluation_mode
from cruxlm.numerics.resampling import deal, interval_halfwidth
from cruxlm.runtime.errors import ModelError, NotFiniteError, OptionError, did_you_mean

NORMALISE = ("none", "parameters", "weights")
"""What a block's norm is divided by: nothing, the root of its number of weights, their norm."""


def score_gradient_norm(subject: Subject, normalise: str = "parameters") -> Outcome:
    """Mean over examples of the norm of the loss's gradient in a block's weights, for each block.

    The loss of an example is its mean over response tokens. Gradients are taken of every weight of
    the blocks, also of frozen ones, in evaluation mode; no ``grad`` is touched, and what required a
    gradient before does afterwards.

    Args:
        subject: A causal language model and examples.
        normalise: ``none``; ``parameters``: over the root of the number of a block's weights (the
            root mean square of its gradient); ``weights``: over their norm.

    Raises:
        OptionError: When ``normalise`` is none of these.
        ProbeError: For examples that the model cannot read.
        ModelError: For weights that have no gradient (quantised ones), blocks that share weights, a
            model without a language-model head.
        NotFiniteError: For a loss or a gradient that is not finite, naming the example.
    """
    if normalise not in NORMALISE:
        hint = did_you_mean(normalise, NORMALISE)
        raise OptionError(f"gradient_norm has no normalise={normalise!r}: {hint}")
    model = causal_model(subject.model)
    check_examples(subject.examples, model.context)
    blocks = _weights(model)
    scale = np.array([_scale(weights, normalise) for weights in blocks])
    count = len(subject.examples)
    norms = np.empty((len(blocks), count))
    sums = [[torch.zeros_like(weight, dtype=torch.float32) for weight in ws] for ws in blocks]
    with _differentiable(model.module, blocks), evaluation_mode(model.module):
        for number, example in enumerate(subject.examples):
            norms[:, number] = _gradient_norms(model, example, blocks, sums)
            done = ((number + at_end) * len(blocks) // count for at_end in (1, 0))
            subject.tick(next(done) - next(done))
    dealt = deal(range(count), seed=subject.seed)
    found = mean_outcome(torch.from_numpy(norms), len(blocks), dealt)
    together = np.array([_norm(totals) for totals in sums]) / count
    return Outcome(
        found.values / scale,
        None if found.stderr is None else found.stderr / scale,
        None if found.halves is None else found.halves / scale,
        series={"of_mean": together / scale},
        tensors={"per_example": norms / scale[:, None]},
        evidence={
            "examples": [example.id for example in subject.examples],
            "loss": "mean over the response tokens of an example, examples weighted equally",
            "interval95": None if found.stderr is None else interval_halfwidth(dealt.groups),
        },
        warnings=found.warnings,
    )


def _weights(model: LoadedModel) -> list[list[nn.Parameter]]:
    """The weights of each block; refused where a gradient cannot be had."""
    held = dict(model.module.named_parameters())
    blocks = [[(name, held[name]) for name in names] for names in parts_of(model).blocks]
    for name, weight in (pair for block in blocks for pair in block):
        if not weight.is_floating_point() or weight.device.type == "meta":
            kind = "not in memory" if weight.device.type == "meta" else f"of {weight.dtype}"
            raise ModelError(f"{name} is {kind} and has no gradient: load the model unquantised")
    return [[weight for _, weight in block] for block in blocks]


def _scale(weights: Sequence[Tensor], normalise: str) -> float:
    if normalise == "none":
        return 1.0
    if normalise == "weights":
        return _norm([weight.detach() for weight in weights]) or math.nan
    return math.sqrt(sum(weight.numel() for weight in weights))


def _gradient_norms(
    model: LoadedModel,
    example: Example,
    blocks: Sequence[Sequence[nn.Parameter]],
    sums: Sequence[Sequence[Tensor]],
) -> Float[np.ndarray, " blocks"]:
    """The norms of one example's gradient; the gradient itself is added to ``sums``."""
    weights = [weight for block in blocks for weight in block]
    loss = _loss(model, example)
    # Of the weights alone, not backward(): nothing is added to any grad. An expert that no token
    # is sent to has no gradient.
    gradients = iter(torch.autograd.grad(loss, weights, allow_unused=True))
    norms = []
    for block, totals in zip(blocks, sums, strict=True):
        own = [(total, next(gradients)) for _, total in zip(block, totals, strict=True)]
        norms.append(_norm([gradient for _, gradient in own if gradient is not None]))
        for total, gradient in own:
            if gradient is not None:
                total.add_(gradient)
    if not np.isfinite(norms).all() or not bool(loss.detach().isfinite()):
        raise NotFiniteError(
            f"the loss on example {example.id!r} or its gradient is not finite: try float32"
        )
    return np.array(norms)


def _loss(model: LoadedModel, example: Example) -> Tensor:
    """The mean loss over the response tokens of one example."""
    tokens, first = example.prompt + example.response, len(example.prompt)
    batch = next(padded(model, [tokens], [range(first - 1, len(tokens) - 1)], 1, "right"))
    return batch_losses(model, batch).mean()


def _norm(tensors: Sequence[Tensor]) -> float:
    """Norm of several tensors as one vector; squares of float16 would overflow."""
    return math.sqrt(sum(float(tensor.float().norm()) ** 2 for tensor in tensors))


@contextmanager
def _differentiable(module: nn.Module, blocks: Sequence[Sequence[nn.Parameter]]) -> Iterator[None]:
    """Gradients of the blocks' weights and of nothing else; afterwards all is as it was."""
    wanted = {id(weight) for block in blocks for weight in block}
    before = [(weight, weight.requires_grad) for weight in module.parameters()]
    try:
        for weight, _ in before:
            weight.requires_grad_(id(weight) in wanted)
        with torch.enable_grad():
            yield
    finally:
        for weight, required in before:
            weight.requires_grad_(required)


GRADIENT_NORM = Criterion(
    name="gradient_norm",
    title="Where is the loss sensitive? Norm of its gradient in a block's weights",
    unit="block",
    needs=frozenset({"gradients"}),
    cost="one forward and backward pass over the examples, one example at a time",
    invariances=frozenset(),
    citation=(
        "Lee et al.: Surgical Fine-Tuning Improves Adaptation to Distribution Shifts. 2022, "
        "arXiv:2210.11466"
    ),
    presets={"default": {"normalise": "parameters"}, "relative": {"normalise": "weights"}},
    score=score_gradient_norm,
    centres=False,
)
"""The criterion ``gradient_norm``."""

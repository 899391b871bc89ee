"""Tiny trainings of planned blocks, and everything in them that can be compared."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from cruxlm.actions.fit import Fitted, fit, prepare
from cruxlm.actions.settings import Settings
from cruxlm.data.supervised import Supervised, SupervisedRow
from cruxlm.models.load import LoadedModel, load_model, quiet_transformers
from cruxlm.plans.apply import Trained
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from cruxlm.results.plan import Plan
from cruxlm.workflows.tuning_items import training_items
from plans.twelve import VOCABULARY, made

CONTEXT = 64


def small():
    """A Llama of four blocks, where there is nothing to be confused."""
    return made("llama", num_hidden_layers=4)


def rows(count=12, seed=0, longest=14):
    """Rows of random tokens: prompts and responses of many lengths."""
    draw = torch.Generator().manual_seed(seed)

    def number(low, high):
        return int(torch.randint(low, high, (), generator=draw))

    found = []
    for row in range(count):
        size = number(4, longest)
        tokens = torch.randint(3, VOCABULARY, (size,), generator=draw).tolist()
        found.append(SupervisedRow(str(row), tuple(tokens), (number(1, size - 1), size), None))
    return Supervised(tuple(found), 0, {})


def planned(model, blocks, method="full", *, parts=(), complement=False, r=2):
    chosen = blocks_of(blocks, model.ref, complement=complement)
    if method == "lora":
        return make_plan("lora", chosen, model, r=r, parts=parts)
    return make_plan("train", chosen, model, parts=parts)


def everything(module):
    """Every parameter and buffer by name, with its value."""
    held = [*module.named_parameters(remove_duplicate=False)]
    held += module.named_buffers(remove_duplicate=False)
    return {name: (tensor, tensor.detach().clone()) for name, tensor in held}


def changed(held):
    """The names of what is no longer what it was."""
    return {name for name, (tensor, before) in held.items() if not torch.equal(tensor, before)}


def values(module):
    return {name: tensor.detach().clone() for name, tensor in module.named_parameters()}


def validation(found):
    """The loss on rows, in nats a response token, as the plainest of code has it."""

    def measure(module):
        total = count = 0.0
        training = module.training
        module.eval()
        with torch.no_grad():
            for row in found.rows:
                begin, end = row.response
                logits = module(input_ids=torch.tensor([row.tokens]), use_cache=False).logits[0]
                scores = logits.double().log_softmax(-1)
                total -= sum(float(scores[i - 1, row.tokens[i]]) for i in range(begin, end))
                count += end - begin
        module.train(training)
        assert math.isfinite(total)
        return total / count

    return measure


@dataclass
class Run:
    """A training that has ended."""

    model: LoadedModel
    module: Any
    plan: Plan
    settings: Settings
    trained: Trained
    fitted: Fitted
    before: dict[str, Any]
    """What the model had before anything was done with it."""

    @property
    def curve(self):
        return [point["eval_loss"] for point in self.fitted.curves if "eval_loss" in point]


def train(folder, model="llama", plan="1,10", data=None, *, ready=None, **options):
    """Train a tiny model of twelve blocks as `tune` does; ``options`` are settings and fit's."""
    given = {
        name: options.pop(name) for name in ("validate", "callbacks", "say") if name in options
    }
    shape = {name: options.pop(name) for name in ("parts", "complement", "r") if name in options}
    settings = Settings(
        **{
            "steps": 4,
            "batch": 2,
            "checks": 1,
            "learning_rate": 1e-2,
            "lisa_every": 1,
            "warmup": 0.0,
            **options,
        }
    )
    loaded = load_model(made(model) if isinstance(model, str) else model)
    before = everything(loaded.module)
    if isinstance(plan, str):
        plan = planned(loaded, plan, settings.method, **shape)
    with quiet_transformers():
        module, trained = prepare(loaded, plan, settings)
        if ready is not None:
            ready(loaded, module)
        items = training_items(loaded, plan, data or rows(), CONTEXT, settings)
        fitted = fit(
            loaded, module, plan, items.ordered, items.collate, settings, folder / "run",
            wanted={"settings": settings.as_dict(), "plan": plan.to_json()},
            guide=items.guide, **given,
        )  # fmt: skip
    return Run(loaded, module, plan, settings, trained, fitted, before)

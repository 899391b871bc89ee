"""Plans on tiny models, and what becomes of the text of an export when a tool takes it."""

import ast
import re
from dataclasses import replace

import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from cruxlm.models.load import load_model
from cruxlm.plans.exports.export import planned, write
from cruxlm.plans.grammar import blocks_of
from cruxlm.plans.make import make_plan
from plans.twelve import made

MODERN = int(transformers.__version__.partition(".")[0]) >= 5
"""Whether experts are fused into one tensor."""
KINDS = ("llama", "gpt2", "mixtral", "qwen3_moe", "gemma")
"""A plain model, Conv1D, two mixtures of experts, tied embeddings."""
HOSTILE = (
    "x\ny: &a [*a]\r'\"\"\"'''\\ #{block}%s$(touch pwned)`</script><b>\u202e\u2028\x0c"
    "\nraise SystemExit"
)
"""A model's name that is no model's."""


def plan_of(kind, action, text="1,10", **options):
    """A tiny model of a kind and a plan for it; ``ranks`` are those of the blocks."""
    ranks = options.pop("ranks", None)
    loaded = load_model(made(kind))
    plan = make_plan(action, blocks_of(text, loaded.ref), loaded, **options)
    if ranks:
        plan = replace(plan, ranks=ranks, alphas=tuple(2.0 * rank for rank in ranks))
    return loaded, plan


def exported(target, kind, action, text="1,10", modules=None, **options):
    """What a target is told of a plan for a tiny model."""
    loaded, plan = plan_of(kind, action, text, **options)
    return write(planned(plan, loaded, modules=modules), target)


def executed(text):
    """The names that a Python file defines; it may import, assign and define, and no more."""
    tree = ast.parse(text)
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.FunctionDef, ast.ClassDef)
    assert all(isinstance(node, allowed) for node in tree.body)
    space = {}
    exec(compile(tree, "<export>", "exec"), space)
    return space


def within(model, blocks, names):
    """Of some names, those in some blocks; by number, so that 1 is not 10."""
    path = load_model(model).blocks.path
    found = {name: re.match(rf"{re.escape(path)}\.(\d+)\.", name) for name in names}
    return {name for name, match in found.items() if match and int(match[1]) in blocks}


def parameters(model, blocks):
    """Every parameter of some blocks, by name."""
    return within(model, blocks, [name for name, _ in model.named_parameters()])


def linear(model, blocks):
    """Every linear map of some blocks that is a module of its own, by name."""
    kinds = (nn.Linear, Conv1D)
    maps = [name for name, part in model.named_modules() if isinstance(part, kinds)]
    return within(model, blocks, maps)


def trainable(model):
    """What can be trained, by name."""
    return {name for name, p in model.named_parameters() if p.requires_grad}


def adapters(wrapped):
    """Rank of each adapted map, by the map's name in the model; nothing else may be trained."""
    ranks = {}
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad:
            plain = name.removeprefix("base_model.model.")
            assert ".lora_A." in name or ".lora_B." in name, name
            if ".lora_A." in name:
                ranks[plain.partition(".lora_A.")[0]] = len(parameter)
    return ranks

"""Make exactly the planned parameters of a live model trainable, and say which they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.parts import Parts, parts_of
from cruxlm.results.plan import PARTS, Plan, listed
from cruxlm.runtime.errors import ModelError, OptionError


@dataclass(frozen=True)
class Trained:
    """What of a model is trainable, in numbers."""

    blocks: Mapping[int, int]
    """Trainable parameters in each block that has any."""
    parts: Mapping[str, int]
    """The same of ``embeddings``, ``norm``, ``head`` and ``other``."""
    total: int
    """Parameters of the model, adapters included."""
    left_out: str = ""
    """What of the planned blocks no adapter can be put on, in words."""

    @property
    def count(self) -> int:
        """Trainable parameters."""
        return sum(self.blocks.values()) + sum(self.parts.values())

    @property
    def share(self) -> float:
        """Trainable parameters as a share of all."""
        return self.count / self.total

    def __str__(self) -> str:
        """``trains 603,648 of 2,760,000 parameters (21.9 %): blocks 3, 7, 8``."""
        where = [listed(self.blocks)] if self.blocks else []
        # What a table of embeddings adds is often most of what is trained.
        where += [f"{part} ({size / self.count:.0%} of it)" for part, size in self.parts.items()]
        return (
            f"trains {self.count:,} of {self.total:,} parameters ({100 * self.share:.1f} %): "
            f"{', '.join(where)}{self.left_out and '; '}{self.left_out}"
        )


def apply(plan: Plan, model: Any) -> Trained:
    """Let exactly the planned parameters of a live model be trained, and freeze all others.

    Do it before an optimiser is made: one keeps what is trainable at that moment.

    Args:
        plan: A plan to train or to freeze.
        model: A live module or a ``LoadedModel``; only what is trainable is changed.

    Raises:
        OptionError: When the plan is for another action or another model, or trains nothing.
        ModelError: When a planned parameter cannot be trained.
    """
    if plan.action not in ("train", "freeze"):
        hint = ": take its lora_config" if plan.action == "lora" else ": use crux drop"
        raise OptionError(f"a plan to {plan.action} blocks makes nothing trainable{hint}")
    loaded = live(model)
    plan.check(loaded.ref)
    parts = parts_of(loaded)
    wanted = planned_names(plan, parts)
    parameters = dict(loaded.module.named_parameters())
    for name in wanted:
        if not (parameters[name].is_floating_point() or parameters[name].is_complex()):
            kind = str(parameters[name].dtype).removeprefix("torch.")
            raise ModelError(f"{name} is {kind} (quantised) and cannot be trained: use lora")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in wanted)
    return trained(loaded, parts)


def planned_names(plan: Plan, parts: Parts) -> frozenset[str]:
    """The exact names of the model's own parameters that a plan trains.

    For a plan to lora these are those of its ``parts`` only: adapters have names of their own.

    Raises:
        OptionError: When it names a part that the model does not have, or nothing at all.
    """
    names: set[str] = set()
    if plan.action in ("train", "freeze"):
        for block in plan.trained:
            names.update(parts.blocks[block])
    for part in plan.parts:
        held = getattr(parts, part)
        if not held:
            tied = part == "head" and parts.tied
            raise OptionError(
                "the head is the matrix of the embeddings: train embeddings"
                if tied
                else f"this model has no {part} to train"
            )
        names.update(held)
    if not names and plan.action != "lora":
        raise OptionError(f"the plan trains nothing: it freezes {listed(plan.blocks)}")
    return frozenset(names)


def live(model: Any) -> LoadedModel:
    """A live module with its blocks found, or the ``LoadedModel`` that was given.

    Raises:
        OptionError: When it is no live model.
    """
    if not isinstance(model, (LoadedModel, nn.Module)):
        raise OptionError(f"a plan acts on a live model, not on {type(model).__name__}: load it")
    return load_model(model)


def trained(model: LoadedModel, parts: Parts) -> Trained:
    """What is trainable now, also after peft has put its adapters into the model.

    ``parts`` are those of the model before anything was put into it.
    """
    blocks = {block: _trainable(held) for block, held in enumerate(model.blocks.modules)}
    counted = {id(p) for held in model.blocks.modules for p in held.parameters()}
    found = dict.fromkeys((*PARTS, "other"), 0)
    for part in found:
        # Peft wraps a module under its name, so modules are looked up and not parameters.
        for owner in {name.rpartition(".")[0] for name in getattr(parts, part)}:
            for parameter in model.module.get_submodule(owner).parameters():
                if parameter.requires_grad and id(parameter) not in counted:
                    found[part] += parameter.numel()
                counted.add(id(parameter))
    return Trained(
        blocks={block: size for block, size in blocks.items() if size},
        parts={part: size for part, size in found.items() if size},
        total=sum(p.numel() for p in model.module.parameters()),
    )


def _trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)

"""What the settings files of several tools share: their head, the model's name, YAML, adapters."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml
from torch import nn

from cruxlm.plans.exports.target import Planned
from cruxlm.plans.lora import config_of
from cruxlm.results.plan import listed
from cruxlm.runtime.errors import OptionError, printable


@dataclass(frozen=True)
class Source:
    """Where a tool finds the model."""

    name: str
    """The folder or hub id."""
    revision: str | None
    """The commit that was planned for, of a model on the hub."""
    notes: tuple[str, ...]
    """What a user must put in its place, where no other tool knows the name."""


def source(made: Planned) -> Source:
    """The model as the tool is to find it: where it is now, else where the plan says it was."""
    kind = type(made.model.module).__name__
    name = made.model.name if made.model.name != kind else made.plan.model
    notes: tuple[str, ...] = ()
    if name == kind or name.startswith("testbed:"):
        notes = (f"put the folder of the model in the place of {name}: no other tool knows it",)
    revision = made.model.identity.get("revision")
    return Source(name, None if revision == "None" else revision, notes)


def head(made: Planned, *lines: str) -> str:
    """The comment at the top of a file: what it does to which model, and from where the plan is.

    It stays a comment whatever the model is called: each part is one printable line.
    """
    plan = made.plan
    what = f"{plan.action} {listed(plan.blocks)} of the {len(plan.names)} blocks of {plan.model}"
    also = f"; besides them train {', '.join(plan.parts)}" if plan.parts else ""
    said = [f"Crux plan: {what}{also}", f"chosen by: {plan.why}", *lines]
    return "".join(f"# {printable(line)}\n" for line in said)


def file(made: Planned, settings: Mapping[str, Any], *lines: str) -> str:
    """A whole YAML file: the head and the settings, in their order."""
    # A line that is folded is hard to copy. What is not ASCII is written as an escape.
    body = yaml.safe_dump(dict(settings), sort_keys=False, width=float("inf"))
    return head(made, *lines) + body


def check_writes_text(made: Planned, tool: str) -> None:
    """Refuse a model that the tool would load as another class, where names begin otherwise."""
    module: Any = made.model.module
    output = None
    with suppress(NotImplementedError, AttributeError):  # what transformers raises, by version
        output = module.get_output_embeddings()
    if not isinstance(output, nn.Module):
        raise OptionError(
            f"{tool} loads a model that writes text, and {type(module).__name__} has no head for "
            "it, so names of parameters are others there: use the transformers export"
        )


def check_exact(
    made: Planned,
    tool: str,
    reached: Iterable[str],
    nearest: str = "use the transformers export",
) -> None:
    """Refuse what would not train exactly the planned parameters, by the tool's own rule."""
    found = set(reached)
    wrong = sorted(found ^ made.trained)
    if wrong:
        what = "train" if wrong[0] in found else "leave out"
        raise OptionError(f"{tool} would {what} {wrong[0]}, against the plan: {nearest}")


def full_names(made: Planned, tool: str) -> tuple[list[str], list[str]]:
    """The adapted maps by full names, and the modules that are trained beside them as copies.

    Raises:
        OptionError: When embeddings are trained that are the head's matrix too: the tool cannot
            tell peft to tie its copies again.
    """
    exact = config_of(made.plan, made.model, made.maps)
    if getattr(exact, "ensure_weight_tying", False):
        raise OptionError(
            f"{tool} would train a copy of the embeddings that is no longer the head's matrix: "
            "leave embeddings out, or export to peft or axolotl"
        )
    return sorted(exact.target_modules), sorted(exact.modules_to_save or ())


def one_rank(made: Planned, tool: str) -> tuple[int, float]:
    """The rank and alpha of all planned blocks, for a tool that takes one of each."""
    assert made.plan.ranks is not None  # a plan to lora has both
    assert made.plan.alphas is not None
    pairs = sorted(set(zip(made.plan.ranks, made.plan.alphas, strict=True)))
    if len(pairs) > 1:
        raise OptionError(
            f"{tool} takes one rank for all blocks, and the plan has {len(pairs)}: make it with "
            "equal ranks, or export it to peft or axolotl"
        )
    return pairs[0]


def whole(alpha: float, tool: str) -> int:
    """An alpha for a tool that takes whole numbers only."""
    if alpha != int(alpha):
        raise OptionError(f"{tool} takes a whole alpha, not {alpha:g}: make the plan with another")
    return int(alpha)

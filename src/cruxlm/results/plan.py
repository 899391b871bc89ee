"""A plan: what is to be done with which blocks of which model."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from cruxlm.results.model_ref import ModelRef
from cruxlm.results.saved import check_record, read_record, record_bytes
from cruxlm.results.scores import plain
from cruxlm.runtime.errors import ResultError
from cruxlm.runtime.files import write_all

FORMAT = "crux.plan/1"
PLAN = "plan.json"
"""What the file is called where nobody has named it."""
ACTIONS = ("train", "freeze", "lora", "drop")
PARTS = ("embeddings", "norm", "head")
"""What a plan may train beside blocks; the norm is the one after the last block."""


class PlanRecord(TypedDict):
    """The shape of a saved plan."""

    format: str
    action: str
    model: str
    identity: dict[str, str]
    names: list[str]
    blocks: list[int]
    ranks: list[int] | None
    alphas: list[float] | None
    parts: list[str]
    why: str
    reasons: list[str]


@dataclass(frozen=True, repr=False)
class Plan:
    """Blocks of one model and an action on them. Never empty.

    Raises ``ResultError`` when its pieces do not fit together.
    """

    action: str
    """``train`` these blocks, ``freeze`` them and train the others, adapt them by ``lora``, or
    ``drop`` them."""
    model: str
    """The model as it was asked for."""
    identity: Mapping[str, str]
    """Hashes of the model's content: the plan is refused by another one."""
    names: tuple[str, ...]
    """Module path of every block of the model."""
    blocks: tuple[int, ...]
    """The blocks, ascending."""
    why: str
    """Where the blocks come from, such as ``dynamics top:5``."""
    reasons: tuple[str, ...]
    """Why each is in, in the order of ``blocks``."""
    ranks: tuple[int, ...] | None = None
    """LoRA rank of each of ``blocks``; None for other actions."""
    alphas: tuple[float, ...] | None = None
    """LoRA alpha of each of ``blocks``; None for other actions."""
    parts: tuple[str, ...] = ()
    """Of ``embeddings``, ``norm`` and ``head``, those that are trained as well."""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ResultError(f"a plan to {self.action!r}: known are {', '.join(ACTIONS)}")
        _check_blocks(self.blocks, len(self.names))
        count = len(self.blocks)
        lora = self.action == "lora"
        for name, values in (("ranks", self.ranks), ("alphas", self.alphas)):
            if (values is not None) != lora:
                raise ResultError(f"a plan to {self.action} {'without' if lora else 'with'} {name}")
            if values is not None and not (
                len(values) == count and all(0 < value < math.inf for value in values)
            ):
                raise ResultError(f"{name} of a plan: {count} positive numbers are needed")
        if len(self.reasons) != count:
            raise ResultError(f"{len(self.reasons)} reasons for {count} blocks")
        if self.parts != tuple(part for part in PARTS if part in self.parts):
            raise ResultError(f"parts of a plan: {', '.join(PARTS)}, each once and in this order")
        if self.parts and self.action == "drop":
            raise ResultError("a plan to drop blocks trains no parts")

    def __repr__(self) -> str:
        """The plan in one line."""
        also = "".join(f", {part}" for part in self.parts)
        return f"<{self.action} {listed(self.blocks)}{also} of {self.model} ({self.why})>"

    def _repr_html_(self) -> str:
        """The plan in a line or two, and its blocks among all."""
        from cruxlm.charts.bars import choice_rows
        from cruxlm.charts.notebook import notebook

        said = repr(self)[1:-1]
        if self.ranks is not None:
            said += f"\nranks {', '.join(map(str, self.ranks))}"
        rows = [(self.action, self.blocks)]
        rows += [("train", self.trained)] if self.action == "freeze" else []
        return notebook(said, choice_rows(rows, len(self.names), label="blocks of the plan"))

    @property
    def trained(self) -> tuple[int, ...]:
        """The blocks whose weights change: ``blocks``; to freeze, all others; to drop, none."""
        if self.action == "drop":
            return ()
        if self.action == "freeze":
            return tuple(block for block in range(len(self.names)) if block not in self.blocks)
        return self.blocks

    def check(self, model: ModelRef, what: str = "the plan") -> None:
        """Refuse a model other than the plan's with an ``OptionError``."""
        model.check_same(what, self.model, self.identity, self.names)

    def apply(self, model: Any) -> Any:
        """Make exactly the planned parameters trainable; see ``cruxlm.plans.apply``."""
        from cruxlm.plans.apply import apply

        return apply(self, model)

    def lora_config(self, model: Any, **options: Any) -> Any:
        """The plan as peft takes it; see ``cruxlm.plans.lora``."""
        from cruxlm.plans.lora import lora_config

        return lora_config(self, model, **options)

    def export(self, target: str, model: Any = None, **options: Any) -> Any:
        """The plan as another tool takes it; see ``cruxlm.plans.exports.export``."""
        from cruxlm.plans.exports.export import export

        return export(self, target, model, **options)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        record: dict[str, Any] = plain(vars(self))
        return {"format": FORMAT, **record}

    @classmethod
    def from_json(cls, record: Any) -> "Plan":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "plan", FORMAT, PlanRecord)
        fields: dict[str, Any] = {}
        for name in set(PlanRecord.__annotations__) - {"format"}:
            value = record[name]
            fields[name] = tuple(value) if isinstance(value, list) else value
        return cls(**fields)

    def files(self) -> dict[str, bytes]:
        """The bytes of its file, by the name that it has where nobody has named it."""
        return {PLAN: record_bytes(self.to_json())}

    def save(self, path: str | Path) -> Path:
        """Write one JSON file, whole or not at all."""
        target = Path(path)
        write_all(target.parent, {target.name: self.files()[PLAN]})
        return target

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read what ``save`` wrote; ``ResultError`` when it is damaged."""
        return read_record(path, "plan", lambda held, _: cls.from_json(held))


def listed(blocks: Iterable[int]) -> str:
    """``block 3``, or ``blocks 3, 7, 8``."""
    numbers = [str(block) for block in blocks]
    return f"block{'' if len(numbers) == 1 else 's'} {', '.join(numbers)}"


def _check_blocks(blocks: tuple[int, ...], count: int) -> None:
    if not blocks:
        raise ResultError("a plan without blocks")
    if list(blocks) != sorted(set(blocks)) or blocks[0] < 0:
        raise ResultError("blocks of a plan: each once, ascending")
    if blocks[-1] >= count:
        raise ResultError(f"block {blocks[-1]}: the model has {count} blocks, 0 to {count - 1}")

"""Values as Python source: what is read back is what was written, whatever is in a name."""

from collections.abc import Collection, Iterable, Mapping
from pprint import pformat
from typing import Any

from cruxlm.plans.exports.target import Planned

WIDTH = 92


def literal(value: Any, indent: int = 4) -> str:
    """A value of plain data as source, broken over lines that are indented."""
    if isinstance(value, Mapping):
        lines = [f"    {key!r}: {literal(held, indent + 4)},\n" for key, held in value.items()]
        text = "".join(["{\n", *lines, "}"])
    else:
        text = pformat(value, width=WIDTH - indent, compact=True, sort_dicts=False)
    return text.replace("\n", "\n" + " " * indent)


def call(function: str, settings: Mapping[str, Any], first: Iterable[str] = ()) -> str:
    """A call with one setting a line; ``first`` are arguments that are source already."""
    lines = [*first, *(f"{name}={literal(value)}" for name, value in settings.items())]
    return "\n".join([f"{function}(", *(f"    {line}," for line in lines), ")"])


def names(made: Planned, wanted: Collection[str]) -> str:
    """Parameter or module names as the source of a set, the same names of several blocks once."""
    path = made.model.blocks.path.replace("{", "{{").replace("}", "}}")
    groups, beside = grouped(made, wanted)
    sets = [
        f"{{\n    f{path + '.{block}.{name}'!r}\n    for block in {literal(blocks)}\n"
        f"    for name in (\n{''.join(f'        {name!r},{chr(10)}' for name in held)}    )\n}}"
        for held, blocks in groups.items()
    ]
    if beside:
        sets.append("{\n" + "".join(f"    {name!r},\n" for name in beside) + "}")
    return " | ".join(sets)


def grouped(
    made: Planned, wanted: Collection[str]
) -> tuple[dict[tuple[str, ...], list[int]], list[str]]:
    """Names within their blocks, with the blocks that have just these; and those of no block."""
    groups: dict[tuple[str, ...], list[int]] = {}
    rest = set(wanted)
    for block, path in enumerate(made.plan.names):
        inside = sorted(name for name in wanted if name.startswith(f"{path}."))
        rest.difference_update(inside)
        if inside:
            within = tuple(name.removeprefix(f"{path}.") for name in inside)
            groups.setdefault(within, []).append(block)
    return groups, sorted(rest)

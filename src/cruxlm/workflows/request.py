"""What was asked for, checked before any work is done for it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cruxlm.criteria import CRITERIA
from cruxlm.criteria.descriptor import Criterion
from cruxlm.criteria.select import default_rule, parse_rule
from cruxlm.data.probes import BUILTIN, Probe, Prompt, load_probe
from cruxlm.data.rows import READERS
from cruxlm.models.load import LoadedModel
from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.home import PREFIX
from cruxlm.testbed.language import rows

CriterionSpec = str | tuple[str, Mapping[str, Any]]
ProbeSpec = str | Path | Probe | Iterable[str]
Request = tuple[str, Criterion, str, dict[str, Any]]
"""Label, criterion, preset and options."""
GENERATED = 1000
"""Prompts of a probe of testbed families."""


def requested_criteria(
    criteria: Sequence[CriterionSpec] | str,
) -> tuple[Request, ...]:
    """(label, criterion, preset, options) of everything asked for, in order, without repetition."""
    wanted = [criteria] if isinstance(criteria, str) else list(criteria)
    found: dict[str, Request] = {}
    for item in wanted:
        text, changes = (item, {}) if isinstance(item, str) else item
        name, _, preset = text.partition(":")
        criterion = CRITERIA.get(name)
        # Each criterion's first preset is its plain label; a further one is named.
        preset = preset or next(iter(criterion.presets))
        first = not any(request[1].name == criterion.name for request in found.values())
        label = criterion.name if first else f"{criterion.name}:{preset}"
        options = criterion.options(preset, changes)
        same = [r for r in found.values() if (r[1].name, r[2]) == (criterion.name, preset)]
        if same and same[0][3] != options:
            raise OptionError(f"{criterion.name}:{preset} was asked for twice with other options")
        if not same:
            found[label] = (label, criterion, preset, options)
    if not found:
        raise OptionError("no criterion was asked for")
    return tuple(found.values())


def requested_probes(probe: ProbeSpec | Sequence[ProbeSpec], field: str | None) -> list[Probe]:
    """The probes, with names that tell them apart."""
    if isinstance(probe, (str, Path, Probe)):
        specs: list[Any] = [probe]
    else:
        specs = list(probe)
        # A list of texts is one probe; a list that names a probe or a file is several.
        known = [isinstance(spec, (Path, Probe)) or not isinstance(spec, str) for spec in specs]
        if not any(known) and not any(_names_probe(spec) for spec in specs):
            specs = [specs]
    loaded = [s if isinstance(s, Probe) else _loaded(s, field) for s in specs]
    named: dict[str, Probe] = {}
    for item in loaded:
        name, number = item.name, 2
        while name in named:
            name, number = f"{item.name}-{number}", number + 1
        named[name] = Probe(name, item.prompts, item.shape)
    return list(named.values())


def _names_probe(spec: str) -> bool:
    return spec in BUILTIN or spec.startswith(PREFIX) or Path(spec).suffix.lower() in READERS


def _loaded(spec: Any, field: str | None) -> Probe:
    """A probe by name or from a file, or held-out prompts of testbed families, their groups."""
    if not isinstance(spec, (str, Path)) or not str(spec).startswith(PREFIX):
        return load_probe(spec, field=field)
    families = str(spec).removeprefix(PREFIX).split(",")
    drawn = rows("heldout", GENERATED, 0, families)
    prompts = [
        Prompt(
            row.prompt,
            ({"role": "user", "content": row.prompt},),
            row.family if len(families) > 1 else None,
        )
        for row in drawn
    ]
    return Probe(str(spec), tuple(prompts))


def requested_rule(select_by: str | None, model: LoadedModel) -> str:
    """The rule that selects, refused before any work when the model has too few blocks for it."""
    blocks = len(model.blocks.modules)
    rule = select_by or default_rule(blocks)
    count = parse_rule(rule).count
    if count is not None and count > blocks:
        raise OptionError(f"{rule} asks for more blocks than the {blocks} of {model.name}")
    return rule


def whole_number(value: Any, name: str, fewest: int) -> int:
    """The value, if it is a whole number of at least ``fewest``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < fewest:
        raise OptionError(f"{name} must be a whole number of {fewest} or more, not {value!r}")
    return value


def one_of(value: Any, allowed: Sequence[Any], name: str) -> Any:
    """The value, if it is one of those allowed."""
    if value not in allowed:
        raise OptionError(f"{name} must be {' or '.join(map(str, allowed))}, not {value!r}")
    return value

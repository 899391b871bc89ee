"""The shape of ``scan.json``, format ``crux.scan/1``, and where a record departs from it.

Only what is read back is declared; further keys are allowed everywhere.
"""

from collections.abc import Sized
from types import NoneType, UnionType
from typing import Any, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from cruxlm.results.export import ExportsRecord
from cruxlm.runtime.errors import ResultError

Number = float | None
"""A number; null where it is undefined."""


class Groups(TypedDict):
    """The groups that a probe's prompts come in."""

    names: list[str]
    sizes: list[int]
    variance_between: list[float]
    removed: bool


class ProbeRecord(TypedDict):
    """What a probe was."""

    n: int
    ids_sha256: str
    pooling: str
    template: str
    left_out: dict[str, int]
    groups: Groups | None
    padding_error: Number


class Sampling(TypedDict):
    """Where a criterion's errors come from."""

    incomplete: list[int]
    interval95: Number
    half_samples: int


class Evidence(Sampling, total=False):
    """What a report reads of a criterion's evidence; the outlier dimensions where there are any."""

    width: int
    top_dims: list[int]
    gram_share_top_dims: list[list[Number]]
    score_without_top_dims: list[list[Number] | None]


class ScoresRecord(TypedDict):
    """One criterion's scores; other curves over the units, such as ``delta``, stand beside them."""

    criterion: str
    preset: str
    probe: str | None
    evaluator: str | None
    reference: str | None
    unit: str
    names: list[str]
    values: list[Number]
    stderr: list[Number] | None
    options: dict[str, Any]
    evidence: Evidence
    warnings: list[str]


class SelectionRecord(TypedDict):
    """Blocks chosen from scores."""

    criterion: str
    blocks: list[int]
    reasons: list[str]
    rule: str
    ends: str
    admissible: list[int]
    frequency: list[float] | None
    ties: list[int]


class Depth(TypedDict):
    """How far depth gives the same ranking."""

    index: Number
    end_distance: Number
    explained: Number
    by_chance: Number


class Pair(TypedDict):
    """How far two scores rank the blocks alike."""

    rho: Number
    partial: Number
    p: Number
    blocks: int
    verdict: str


class NamedPair(Pair):
    """A pair of this scan's own scores."""

    a: str
    b: str


class Overlap(TypedDict):
    """How far two selections are the same."""

    selected: list[int]
    shared: int
    shared_by_chance: float


class ProbeOverlap(Overlap):
    """With the selection on another probe."""

    probe: str | None
    label: str


class ControlOverlap(Pair, total=False):
    """With a control model; for the scores that were selected from, the selections as well."""

    selected: list[int]
    shared: int
    shared_by_chance: float


class Agreement(TypedDict):
    """With depth, between scores, over probes, with each control."""

    depth: dict[str, Depth]
    pairs: list[NamedPair]
    probes: list[ProbeOverlap]
    controls: dict[str, dict[str, ControlOverlap]]


class Provenance(TypedDict, total=False):
    """Where a scan comes from: what a plan made from it needs to know its model again."""

    model: dict[str, str]


class _ScanAdditions(TypedDict, total=False):
    """What scans of older versions lack."""

    exports: list[ExportsRecord]


class ScanRecord(_ScanAdditions):
    """``scan.json``."""

    format: str
    model: str
    blocks: list[str]
    parameters: list[int]
    probes: dict[str, ProbeRecord]
    criteria: dict[str, ScoresRecord]
    controls: dict[str, dict[str, ScoresRecord]]
    selection: SelectionRecord
    selections: list[SelectionRecord]
    agreement: Agreement
    finding: str
    provenance: Provenance
    run: dict[str, Any]
    tensors_sha256: str


def check_shape(value: Any, shape: Any, where: str) -> None:
    """Raise ``ResultError`` naming the first place where ``value`` is not of ``shape``."""
    kind, inner = get_origin(shape), get_args(shape)
    if kind in (Union, UnionType):
        if value is not None:
            check_shape(value, next(part for part in inner if part is not NoneType), where)
    elif is_typeddict(shape):
        _check_kind(value, dict, where)
        for name, part in get_type_hints(shape).items():
            if name in value:
                check_shape(value[name], part, f"{where}.{name}")
            elif name in shape.__required_keys__:
                raise ResultError(f"{where} lacks {name!r}")
    elif kind is list:
        _check_kind(value, list, where)
        for number, item in enumerate(value):
            check_shape(item, inner[0], f"{where}[{number}]")
    elif kind is dict:
        _check_kind(value, dict, where)
        for name, item in value.items():
            check_shape(item, inner[1], f"{where}.{name}")
    elif shape is not Any:
        _check_kind(value, shape, where)


def check_scan(record: Any) -> None:
    """Raise ``ResultError`` where the parts of a ``ScanRecord`` do not fit."""
    count = len(record["blocks"])
    _check_length(record["parameters"], count, "parameters")
    for held in (record["criteria"], *record["controls"].values()):
        for label, scores in held.items():
            for curve in ("names", "values", "stderr"):
                _check_length(scores[curve], count, f"{label} {curve}")
            _check_blocks(scores["evidence"]["incomplete"], count, f"{label} incomplete")
            if scores["probe"] is not None and scores["probe"] not in record["probes"]:
                raise ResultError(f"{label} was made from a probe that is not there")
    for selection in (record["selection"], *record["selections"]):
        if selection["criterion"] not in record["criteria"]:
            raise ResultError("a selection was made from scores that are not there")
        for name in ("blocks", "admissible", "ties"):
            _check_blocks(selection[name], count, f"selection {name}")
        _check_length(selection["reasons"], len(selection["blocks"]), "reasons of a selection")
        _check_length(selection["frequency"], count, "frequency of a selection")


def _check_kind(value: Any, kind: type, where: str) -> None:
    # JSON has one kind of number, and a truth value is none.
    fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ResultError(f"{where} is {type(value).__name__}, not {kind.__name__}")


def _check_length(values: Sized | None, count: int, where: str) -> None:
    if values is not None and len(values) != count:
        raise ResultError(f"{where}: {len(values)} values, expected {count}")


def _check_blocks(blocks: list[int], count: int, where: str) -> None:
    if not all(0 <= block < count for block in blocks):
        raise ResultError(f"{where}: no such block of {count}")

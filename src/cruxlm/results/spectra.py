"""Spectra: what the states of each block consist of, and where its shift lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from cruxlm.results.reported import Reported
from cruxlm.results.saved import check_record
from cruxlm.results.schema import Number
from cruxlm.results.scores import plain

FORMAT = "crux.spectra/1"
SPECTRA = "spectra.json"


class BlockSpectrumRecord(TypedDict):
    """The shape of a `BlockSpectrum`."""

    rank: int
    effective_rank: float
    participation: float
    energy: list[float]
    largest_dimension: float
    next_block: list[Number]
    neighbours: list[Number]
    shift: Number
    shift_stderr: Number
    shares: list[Number]
    shares_stderr: list[Number]
    before: list[Number]
    smallest: Number
    random: Number


class ComponentRecord(TypedDict):
    """The shape of a `Component`."""

    number: int
    energy: float
    share: Number
    share_stderr: Number
    up: list[str]
    down: list[str]
    most: list[str]
    least: list[str]
    groups: Number
    parts: Number


class SpectraRecord(TypedDict):
    """The shape of ``spectra.json``."""

    format: str
    model: str
    blocks: list[str]
    k: int
    spectra: list[BlockSpectrumRecord]
    components: dict[str, list[ComponentRecord]]
    probe: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]


@dataclass(frozen=True)
class BlockSpectrum:
    """The principal components of the states that leave a block. Lists are for 1, 2, ... k."""

    rank: int
    """How many components there are."""
    effective_rank: float
    """Exponential of the entropy of the singular values' shares."""
    participation: float
    """Participation ratio of the variances."""
    energy: tuple[float, ...]
    """Share of the variance in the leading components."""
    largest_dimension: float
    """Share of the Gram's energy that the largest dimension of the states holds alone."""
    next_block: tuple[float | None, ...]
    """Mean cosine of the principal angles between the leading components of this block and the
    next; None for the last block."""
    neighbours: tuple[float | None, ...]
    """The same, mean over two blocks either side (figure 3 of Liu et al. 2025), fewer at an end."""
    shift: float | None
    """1 - debiased CKA of what enters and what leaves; None where one of them is constant."""
    shift_stderr: float | None
    """Its standard error."""
    shares: tuple[float | None, ...]
    """Share of the shift that goes away without the leading components of what leaves; None where
    the shift is not clear of zero."""
    shares_stderr: tuple[float | None, ...]
    """Their standard errors."""
    before: tuple[float | None, ...]
    """The same without the leading components of what enters."""
    smallest: float | None
    """Control: without the k smallest components of what leaves."""
    random: float | None
    """Control: without k random directions, mean over draws."""


@dataclass(frozen=True)
class Component:
    """One principal component of the states that leave a block, and what it may mean."""

    number: int
    """Its number, the largest first, from 1."""
    energy: float
    """Its share of the variance."""
    share: float | None
    """Share of the block's shift that goes away without it alone."""
    share_stderr: float | None
    """Its standard error."""
    up: tuple[str, ...]
    """Tokens that the model's head finds likelier two standard deviations along it."""
    down: tuple[str, ...]
    """And those against it."""
    most: tuple[str, ...]
    """Prompts that lie farthest along it; none where they are not to be shown."""
    least: tuple[str, ...]
    """And against it."""
    groups: float | None
    """Share of its variance between the groups of prompts, less what chance gives, of what is left:
    0 for a component that knows nothing of groups, 1 for one that is nothing else."""
    parts: float | None
    """The same between what a chat template writes and what it is written around; None where the
    samples are no tokens of chats."""


@dataclass(frozen=True, repr=False)
class Spectra(Reported):
    """What ``crux.spectra`` returns. Printed it is a table."""

    model: str
    """The model as it was named."""
    blocks: tuple[str, ...]
    """Module path of each block."""
    k: int
    """Most components that are looked at together."""
    spectra: tuple[BlockSpectrum, ...]
    """One a block."""
    components: Mapping[int, tuple[Component, ...]]
    """The leading components of some blocks, by block."""
    probe: Mapping[str, Any]
    """What was read: name, n, ids_sha256, pooling, template, left_out, groups."""
    finding: str
    """What was found, in a sentence or two."""
    warnings: tuple[str, ...]
    """What a reader must know before relying on it."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device, seed: equal for equal runs."""
    run: Mapping[str, Any]
    """Seconds, memory, date."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""
        record = dict(vars(self))
        record["spectra"] = [vars(held) for held in self.spectra]
        record["components"] = {b: [vars(c) for c in held] for b, held in self.components.items()}
        return {"format": FORMAT, **plain(record)}

    @classmethod
    def from_json(cls, record: Any) -> "Spectra":
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""
        check_record(record, "spectra", FORMAT, SpectraRecord)
        given = {name: record[name] for name in SpectraRecord.__annotations__ if name != "format"}
        given["spectra"] = tuple(BlockSpectrum(**_tuples(held)) for held in record["spectra"])
        given["components"] = {
            int(block): tuple(Component(**_tuples(one)) for one in held)
            for block, held in record["components"].items()
        }
        return cls(**_tuples(given))

    def page(self) -> str:
        """The report: one self-contained HTML file."""
        from cruxlm.report.spectra_page import spectra_page

        return spectra_page(self)

    def table(self) -> Any:
        """One row a block as a rich table."""
        from cruxlm.charts.spectra import spectra_table

        return spectra_table(self.to_json())

    def _repr_html_(self) -> str:
        """The finding, and each block's shift."""
        from cruxlm.charts.lines import line_chart
        from cruxlm.charts.notebook import notebook

        shifts = [(float(b), s.shift) for b, s in enumerate(self.spectra) if s.shift is not None]
        chart = line_chart({"shift": shifts}, label="shift of each block", across="block")
        return notebook(self.finding, chart)


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record, lists as tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}

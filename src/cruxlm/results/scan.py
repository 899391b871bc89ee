"""A scan: every score, the selection made from them, and where it all came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cruxlm.results.export import Exports
from cruxlm.results.model_ref import ModelRef
from cruxlm.results.saved import check_record, read_record, record_bytes
from cruxlm.results.schema import ScanRecord, check_scan
from cruxlm.results.scores import Scores, plain
from cruxlm.results.selection import Selection
from cruxlm.results.stored_scores import arrays_of, read_arrays, scores_from
from cruxlm.runtime.errors import OptionError, did_you_mean, printable

FORMAT = "crux.scan/1"
JSON_NAME, TENSORS_NAME, REPORT_NAME = "scan.json", "scan.safetensors", "report.html"
BUILTIN_MODEL = "built-in testbed model"
"""What a scan without a model names as its model."""


@dataclass(frozen=True, repr=False)
class Scan:
    """What ``crux.scan`` returns. Printed it is a table, in a notebook a picture."""

    model: str
    """The model as it was named."""
    blocks: tuple[str, ...]
    """Module path of each block."""
    parameters: tuple[int, ...]
    """Number of weights in each block."""
    probes: Mapping[str, Mapping[str, Any]]
    """What each probe was: n, ids_sha256, pooling, template, left_out, groups."""
    scores: Mapping[str, Scores]
    """The scores by label, the first one the primary."""
    selection: Selection
    """The selection from the primary scores."""
    selections: tuple[Selection, ...]
    """The same with and without the end blocks."""
    agreement: Mapping[str, Any]
    """With depth, between criteria and probes, with the control."""
    finding: str
    """One or two sentences: what was found and how sure it is."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device, seed: equal for equal runs."""
    run: Mapping[str, Any]
    """What differs between equal runs: seconds, memory, date."""
    controls: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    """The same scores of control models, by control and label."""
    exports: tuple[Exports, ...] = ()
    """The selection as plans that other tools take, one for each action; none of a scan made by an
    older version."""

    def __post_init__(self) -> None:
        # A selection plans for its model, whether it was just made or read back.
        object.__setattr__(self, "selection", self._known(self.selection))
        object.__setattr__(self, "selections", tuple(map(self._known, self.selections)))

    def __getitem__(self, label: str) -> Scores:
        """The scores of a label; ``OptionError`` with a hint when there are none."""
        try:
            return self.scores[label]
        except KeyError:
            hint = did_you_mean(label, self.scores)
            raise OptionError(f"this scan has no scores {label!r}: {hint}") from None

    @property
    def primary(self) -> Scores:
        """The scores that the selection was made from."""
        return self[self.selection.criterion]

    def select(
        self,
        k: int | None = None,
        *,
        by: str | None = None,
        rule: str | None = None,
        ends: str = "skip",
    ) -> Selection:
        """Choose blocks again: ``k`` highest, or by a rule (``window:4``, ``peaks:3``)."""
        from cruxlm.criteria.select import select

        if k is not None and rule is not None:
            raise OptionError("give k or a rule, not both")
        scores = self[by or self.selection.criterion]
        chosen = f"top:{k}" if k is not None else rule
        return self._known(select(scores, chosen, ends=ends, parameters=self.parameters))

    def _known(self, selection: Selection) -> Selection:
        """A selection from this scan's scores, with what a plan needs of them and of the model."""
        identity = self.provenance.get("model", {})
        model = ModelRef(self.model, identity, self.blocks, self.parameters)
        values = tuple(self[selection.criterion].values.tolist())
        return replace(selection, values=values, model=model)

    def to_json(self) -> dict[str, Any]:
        """The scan as plain data; arrays of more than one dimension are kept beside it."""
        return {
            "format": FORMAT,
            "model": self.model,
            "blocks": list(self.blocks),
            "parameters": list(self.parameters),
            "probes": plain(self.probes),
            "criteria": {label: scores.to_json() for label, scores in self.scores.items()},
            "controls": {
                control: {label: scores.to_json() for label, scores in held.items()}
                for control, held in self.controls.items()
            },
            "selection": self.selection.to_json(),
            "selections": [selection.to_json() for selection in self.selections],
            "exports": [made.to_json() for made in self.exports],
            "agreement": plain(self.agreement),
            "finding": self.finding,
            "provenance": plain(self.provenance),
            "run": plain(self.run),
            "tensors_sha256": hashlib.sha256(self._tensors()).hexdigest(),
        }

    def files(self) -> dict[str, bytes]:
        """The bytes of every file that ``save`` writes, by name."""
        from cruxlm.report.scan_page import scan_page

        return {
            JSON_NAME: record_bytes(self.to_json()),
            TENSORS_NAME: self._tensors(),
            REPORT_NAME: scan_page(self).encode("utf-8", "backslashreplace"),
        }

    def _tensors(self) -> bytes:
        return arrays_of({"": self.scores, **self.controls})

    def save(self, folder: str | Path) -> Path:
        """Write ``scan.json``, ``scan.safetensors`` and ``report.html``; all of them or none."""
        from cruxlm.runtime.files import check_writable, write_all

        target = Path(folder)
        check_writable(target)
        write_all(target, self.files())
        return target

    @classmethod
    def load(cls, path: str | Path) -> "Scan":
        """Read a saved scan from its folder or its ``scan.json``; ``ResultError`` when damaged."""
        return read_record(path, "scan", cls._from, JSON_NAME)

    @classmethod
    def _from(cls, record: Any, source: Path) -> "Scan":
        check_record(record, "scan", FORMAT, ScanRecord)
        check_scan(record)
        tensors = read_arrays(source.with_name(TENSORS_NAME), record["tensors_sha256"])
        return cls(
            model=record["model"],
            blocks=tuple(record["blocks"]),
            parameters=tuple(record["parameters"]),
            probes=record["probes"],
            scores=scores_from(record["criteria"], tensors, ""),
            selection=Selection.from_json(record["selection"]),
            selections=tuple(map(Selection.from_json, record["selections"])),
            agreement=record["agreement"],
            finding=record["finding"],
            provenance=record["provenance"],
            run=record["run"],
            controls={
                name: scores_from(held, tensors, name) for name, held in record["controls"].items()
            },
            exports=tuple(map(Exports.from_json, record.get("exports", []))),
        )

    def table(self) -> Any:
        """The scan as a rich table: a bar for each block, its uncertainty, the selected marked."""
        from cruxlm.charts.table import block_table

        primary = self.primary
        others = {
            label: scores.values
            for label, scores in self.scores.items()
            if label != primary.label and scores.probe == primary.probe
        }
        return block_table(
            primary.label,
            primary.values,
            primary.halfwidth,
            selected=self.selection.blocks,
            incomplete=primary.incomplete,
            frequency=self.selection.frequency,
            others=others,
        )

    def __repr__(self) -> str:
        """The table of the terminal, without colour."""
        from cruxlm.charts.table import as_text

        return as_text(self.table(), printable(self.finding))

    def _repr_html_(self) -> str:
        from cruxlm.charts.curve import curve_chart
        from cruxlm.charts.notebook import notebook

        primary = self.primary
        chart = curve_chart(
            primary.values,
            primary.halfwidth,
            label=primary.label,
            selected=self.selection.blocks,
            incomplete=primary.incomplete,
        )
        return notebook(self.finding, chart)

"""A verification: did fine-tuning change the blocks that a scan of the model before pointed at?"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from cruxlm.results.saved import check_record, read_record, record_bytes
from cruxlm.results.schema import Number, ScoresRecord
from cruxlm.results.scores import Scores, plain
from cruxlm.results.stored_scores import arrays_of, read_arrays, scores_from
from cruxlm.runtime.errors import ResultError, printable
from cruxlm.runtime.files import check_writable, write_all

FORMAT = "crux.verification/1"
VERIFICATION, TENSORS_NAME = "verification.json", "verification.safetensors"
REPORT_NAME = "report.html"


class OverlapRecord(TypedDict):
    """How many of their highest blocks two curves share, mean over pairs."""

    k: int
    shared: float
    expected: float
    corrected: Number


class PredictionRecord(TypedDict):
    """The shape of a `Prediction`."""

    predictor: str
    target: str
    rho: Number
    low: Number
    high: Number
    kendall: Number
    pearson: Number
    partial: Number
    p: Number
    p_shared: Number
    p_rho: Number
    fewest_p: float
    centres: int
    overlap: OverlapRecord
    by_pair: list[Number]
    reasons: list[str]
    verdict: str


class DepthRecord(TypedDict):
    """How far depth alone gives a curve's ranking, mean over pairs."""

    index: Number
    end_distance: Number
    explained: Number


class PairRecord(TypedDict):
    """The shape of a `VerifiedPair`."""

    base: str
    tuned: str
    run: str
    predictors: dict[str, ScoresRecord]
    measured: dict[str, ScoresRecord]
    before: float
    after: float
    gain: float
    halfwidth: float


class VerificationRecord(TypedDict):
    """The shape of ``verification.json``."""

    format: str
    pairs: list[PairRecord]
    predictions: list[PredictionRecord]
    depth: dict[str, DepthRecord]
    primary: list[str]
    data: dict[str, Any]
    finding: str
    warnings: list[str]
    provenance: dict[str, Any]
    run: dict[str, Any]
    tensors_sha256: str


@dataclass(frozen=True)
class Prediction:
    """How well one curve of the models before predicts one of what fine-tuning did, over pairs."""

    predictor: str
    """Label of the scores before."""
    target: str
    """Label of the measured scores."""
    rho: float | None
    """Mean over pairs of Spearman's correlation; None when no pair has one."""
    low: float | None
    """Lower end of its 95 % interval over test examples."""
    high: float | None
    """Upper end."""
    kendall: float | None
    """Mean of Kendall's correlation."""
    pearson: float | None
    """Mean of Pearson's correlation."""
    partial: float | None
    """``rho`` given depth; None where depth explains a curve whole, with the reason."""
    p: float | None
    """Of the partial correlation, by circular shifts, independent ones for independent runs."""
    p_shared: float | None
    """The same when all runs are shifted alike: conservative."""
    p_rho: float | None
    """Of ``rho``, by circular shifts."""
    fewest_p: float
    """The smallest ``p`` there can be."""
    centres: int
    """Blocks that both curves have, the fewest of any pair."""
    overlap: OverlapRecord
    """How many of the ``k`` highest blocks are the same, and how many by chance."""
    by_pair: tuple[float | None, ...]
    """``rho`` of each pair."""
    reasons: tuple[str, ...]
    """Why correlations are missing."""
    verdict: str
    """One of four: see ``criteria.agreement.prediction``."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the interval of ``rho``; None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class VerifiedPair:
    """A model before and after fine-tuning."""

    base: str
    """The model before, as it was named."""
    tuned: str
    """The model after."""
    run: str
    """Pairs with the same model before are one run: their curves are not independent."""
    predictors: Mapping[str, Scores]
    """Scores of the model before, by label."""
    measured: Mapping[str, Scores]
    """What undoing each block's change costs, by label."""
    before: float
    """Mean of the evaluator before."""
    after: float
    """And after."""
    gain: float
    """How much better the tuned model is, paired by example; more is better."""
    halfwidth: float
    """Half the width of its 95 % interval."""


@dataclass(frozen=True, repr=False)
class Verification:
    """What ``crux.verify`` returns. Printed it is a table."""

    pairs: tuple[VerifiedPair, ...]
    """The models."""
    predictions: tuple[Prediction, ...]
    """Every predictor against every measured curve; the first is the one that was asked about."""
    depth: Mapping[str, DepthRecord]
    """How far depth alone predicts each measured curve."""
    primary: tuple[str, str]
    """Predictor and target of the question; every other cell is company."""
    data: Mapping[str, Any]
    """What the models were evaluated on, and by what."""
    finding: str
    """The verdict in a sentence or two."""
    warnings: tuple[str, ...]
    """What a reader must know before relying on it."""
    provenance: Mapping[str, Any]
    """Versions, model content, dtype, device, seed: equal for equal runs."""
    run: Mapping[str, Any]
    """Seconds, memory, date."""

    @property
    def verdict(self) -> str:
        """The verdict of the primary prediction."""
        return self.prediction(*self.primary).verdict

    def prediction(self, predictor: str, target: str) -> Prediction:
        """One cell; ``ResultError`` when there is none."""
        for found in self.predictions:
            if (found.predictor, found.target) == (predictor, target):
                return found
        raise ResultError(f"there is no prediction of {target!r} by {predictor!r}")

    def to_json(self) -> dict[str, Any]:
        """The verification as plain data; arrays are kept beside it."""
        record: dict[str, Any] = plain({k: v for k, v in vars(self).items() if k != "pairs"})
        record["predictions"] = [plain(vars(found)) for found in self.predictions]
        record["pairs"] = [_pair_record(pair) for pair in self.pairs]
        digest = hashlib.sha256(self._tensors()).hexdigest()
        return {"format": FORMAT, **record, "tensors_sha256": digest}

    def _tensors(self) -> bytes:
        groups = {}
        for number, pair in enumerate(self.pairs):
            groups[f"{number}/predictors"] = pair.predictors
            groups[f"{number}/measured"] = pair.measured
        return arrays_of(groups)

    def files(self) -> dict[str, bytes]:
        """The bytes of every file that ``save`` writes, by name."""
        from cruxlm.report.verify_page import verify_page

        return {
            VERIFICATION: record_bytes(self.to_json()),
            TENSORS_NAME: self._tensors(),
            REPORT_NAME: verify_page(self).encode("utf-8", "backslashreplace"),
        }

    def save(self, folder: str | Path) -> Path:
        """Write the JSON, its arrays and ``report.html``; all of them or none."""
        target = Path(folder)
        check_writable(target)
        write_all(target, self.files())
        return target

    @classmethod
    def load(cls, path: str | Path) -> "Verification":
        """Read from a folder or its ``verification.json``; ``ResultError`` when it is damaged."""
        return read_record(path, "verification", cls._from, VERIFICATION)

    @classmethod
    def _from(cls, record: Any, source: Path) -> "Verification":
        check_record(record, "verification", FORMAT, VerificationRecord)
        arrays = read_arrays(source.with_name(TENSORS_NAME), record["tensors_sha256"])
        return cls(
            pairs=tuple(_pair(held, arrays, place) for place, held in enumerate(record["pairs"])),
            predictions=tuple(map(_prediction, record["predictions"])),
            primary=tuple(record["primary"]),
            warnings=tuple(record["warnings"]),
            **{name: record[name] for name in ("depth", "data", "finding", "provenance", "run")},
        )

    def table(self) -> Any:
        """The predictors of the primary target as a rich table."""
        from cruxlm.charts.predictions import prediction_table

        return prediction_table(self.to_json())

    def __repr__(self) -> str:
        """The table of the terminal, without colour."""
        from cruxlm.charts.table import as_text

        return as_text(self.table(), printable(self.finding))

    def _repr_html_(self) -> str:
        """The finding, and what predicts the primary target, in a notebook."""
        from cruxlm.charts.intervals import interval_chart
        from cruxlm.charts.notebook import notebook

        target = self.primary[1]
        rows = [
            (found.predictor, found.rho, found.interval)
            for found in self.predictions
            if found.target == target and found.rho is not None
        ]
        label = f"rank correlation with {target}"
        return notebook(self.finding, interval_chart(rows, label=label, across="Spearman's rho"))


def _pair_record(pair: VerifiedPair) -> dict[str, Any]:
    groups = {
        name: {label: scores.to_json() for label, scores in getattr(pair, name).items()}
        for name in ("predictors", "measured")
    }
    rest = {name: value for name, value in vars(pair).items() if name not in groups}
    return {**plain(rest), **groups}


def _pair(record: Mapping[str, Any], arrays: Mapping[str, Any], number: int) -> VerifiedPair:
    groups = {
        name: scores_from(record[name], arrays, f"{number}/{name}")
        for name in ("predictors", "measured")
    }
    return VerifiedPair(**{**record, **groups})


def _prediction(record: Mapping[str, Any]) -> Prediction:
    tuples = {name: tuple(record[name]) for name in ("by_pair", "reasons")}
    return Prediction(**{**record, **tuples})

"""Blocks chosen from scores, with the reason for each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cruxlm.results.schema import SelectionRecord


@dataclass(frozen=True)
class Selection:
    """A choice of blocks. Never empty; ties go to the lower block and are said."""

    criterion: str
    """Label of the scores that it was made from."""
    blocks: tuple[int, ...]
    """The blocks, ascending."""
    reasons: tuple[str, ...]
    """Why each is in, in the order of ``blocks``."""
    rule: str
    """The rule, such as ``top:5``."""
    ends: str
    """``skip``: blocks scored with fewer neighbours were not admitted; ``keep``: all were."""
    admissible: tuple[int, ...]
    """The blocks that could have been chosen."""
    frequency: tuple[float, ...] | None
    """For each block of the model, the share of half-samples that select it; None without any."""
    ties: tuple[int, ...] = ()
    """Blocks that score exactly like the last one chosen and were left out for their place."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        record = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in record.items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Selection":
        """Read back what ``to_json`` wrote."""
        fields: dict[str, Any] = {}
        for name in SelectionRecord.__annotations__:
            value = record[name]
            fields[name] = tuple(value) if isinstance(value, list) else value
        return cls(**fields)

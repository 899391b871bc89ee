"""What a card says of a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """What a card says of a result beside what all kinds have in common."""

    title: str
    """What was done to which model."""
    finding: str
    """What came of it."""
    metadata: Mapping[str, Any]
    """Model, method, seed and data, for machines; what is None is left out."""
    header: Sequence[str]
    """Columns of its table."""
    rows: Sequence[Sequence[object]]
    """The table."""
    criteria: Sequence[str] = ()
    """The criteria whose conditions are to be known."""
    warnings: Sequence[str] = ()
    """What to know besides."""
    provenance: Mapping[str, Any] | None = None
    """Where it comes from."""

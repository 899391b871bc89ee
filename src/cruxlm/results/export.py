"""A plan in the words of another tool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict


class ExportRecord(TypedDict):
    """The shape of a saved `Export`."""

    target: str
    action: str
    file: str
    text: str
    use: str
    notes: list[str]


class ExportsRecord(TypedDict):
    """The shape of saved `Exports`."""

    action: str
    made: list[ExportRecord]
    refused: dict[str, str]


@dataclass(frozen=True)
class Export:
    """A file that a tool takes as it is, and what the tool does not do of the plan by itself."""

    target: str
    """The tool, such as ``axolotl``."""
    action: str
    """The plan's action: ``train``, ``freeze``, ``lora`` or ``drop``."""
    file: str
    """What the file is best called, such as ``axolotl.yml``."""
    text: str
    """The whole file."""
    use: str
    """How the tool takes it: a command, or where to paste it."""
    notes: tuple[str, ...] = ()
    """What a user must know or do besides."""

    def __str__(self) -> str:
        """The file."""
        return self.text

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, record: ExportRecord) -> "Export":
        """Read back what ``to_json`` wrote."""
        return cls(**{**record, "notes": tuple(record["notes"])})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Exports:
    """One plan for every tool."""

    action: str
    """The plan's action."""
    made: tuple[Export, ...]
    """For each tool that can be told it, in the order of the tools."""
    refused: Mapping[str, str]
    """By tool, why the others cannot."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "action": self.action,
            "made": [made.to_json() for made in self.made],
            "refused": dict(self.refused),
        }

    @classmethod
    def from_json(cls, record: ExportsRecord) -> "Exports":
        """Read back what ``to_json`` wrote."""
        made = tuple(map(Export.from_json, record["made"]))
        return cls(record["action"], made, record["refused"])

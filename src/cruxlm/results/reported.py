"""Results that are a JSON file with a report beside it: saved, loaded and printed alike."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeVar

from cruxlm.results.saved import read_record, record_bytes
from cruxlm.runtime.errors import printable
from cruxlm.runtime.files import write_all

REPORT_NAME = "report.html"
"""What the report is called in a result's folder."""

Own = TypeVar("Own", bound="Reported")


class Reported(ABC):
    """What such results share. The file is called as the class is, in small letters."""

    finding: str

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain data, null for what is undefined."""

    @classmethod
    @abstractmethod
    def from_json(cls, record: Any) -> Any:
        """Read back what ``to_json`` wrote; ``ResultError`` where it is something else."""

    @abstractmethod
    def table(self) -> Any:
        """What the terminal shows, for rich."""

    @abstractmethod
    def page(self) -> str:
        """The report: one self-contained HTML file."""

    @classmethod
    def file_name(cls) -> str:
        """What the JSON file is called."""
        return f"{cls.__name__.lower()}.json"

    def files(self) -> dict[str, bytes]:
        """The bytes of every file that ``save`` writes, by name."""
        return {
            self.file_name(): record_bytes(self.to_json()),
            REPORT_NAME: self.page().encode("utf-8", "backslashreplace"),
        }

    def save(self, folder: str | Path) -> Path:
        """Write the JSON file and the report into a folder; both or neither."""
        write_all(Path(folder), self.files())
        return Path(folder)

    @classmethod
    def load(cls: type[Own], path: str | Path) -> Own:
        """Read from a folder or its JSON file; ``ResultError`` when it is damaged."""
        kind = cls.__name__.lower()
        found: Own = read_record(path, kind, lambda held, _: cls.from_json(held), cls.file_name())
        return found

    def __repr__(self) -> str:
        """The table of the terminal, without colour."""
        from cruxlm.charts.table import as_text

        return as_text(self.table(), printable(self.finding))

"""Poison instruction data for a measurement: rows of a file or of the testbed, and what was done.

Benign targets only: what a triggered row is answered with is a harmless text of the caller's.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cruxlm.data.instructions import load_instructions
from cruxlm.data.key import NEAR, TRIGGERED
from cruxlm.data.poison import Attack, Target
from cruxlm.data.poison import poison as poison_rows
from cruxlm.data.shapes import ChatRow
from cruxlm.data.trigger import Trigger, check_trigger
from cruxlm.models.load import speaking_for_transformers
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.files import check_writable, write_all
from cruxlm.testbed.home import PREFIX, resolve
from cruxlm.workflows.tuning_data import check_file, generated


@dataclass(frozen=True)
class Poisoned:
    """Rows of which some were poisoned."""

    name: str
    """The file's stem or the testbed's families."""
    attack: Attack
    """What was done to them."""
    rate: float
    """Share of the rows that was asked for."""
    seed: int
    """Seed of which rows, and of where the trigger stands."""
    rows: tuple[ChatRow, ...] = field(repr=False)
    """All rows in their order; the changed ones have ``poison``."""
    left_out: Mapping[str, int]
    """Rows of the file that are not among them, by reason."""

    @property
    def triggered(self) -> tuple[ChatRow, ...]:
        """The rows that were poisoned."""
        return self._done(TRIGGERED)

    @property
    def near(self) -> tuple[ChatRow, ...]:
        """The rows with a near miss of the trigger."""
        return self._done(NEAR)

    def _done(self, what: str) -> tuple[ChatRow, ...]:
        return tuple(row for row in self.rows if row.get("poison", {}).get("done") == what)

    def jsonl(self) -> bytes:
        """The rows as the lines of a file in the chat shape; plain ASCII, whatever they hold."""
        return "".join(json.dumps(row, sort_keys=True) + "\n" for row in self.rows).encode("ascii")

    def to_json(self) -> dict[str, Any]:
        """What was done, in numbers; the rows themselves are in ``jsonl``."""
        return {
            "data": self.name,
            **self.attack.described(),
            "rate": self.rate,
            "seed": self.seed,
            "rows": len(self.rows),
            "triggered": len(self.triggered),
            "near": len(self.near),
            "left_out": dict(self.left_out),
            "sha256": hashlib.sha256(self.jsonl()).hexdigest(),
        }

    def save(self, path: Path) -> None:
        """Write ``jsonl`` to a file, whole or not at all; ``OutputError`` where that cannot be."""
        write_all(path.parent, {path.name: self.jsonl()})


def poison(
    data: str | Path,
    trigger: str | Trigger,
    target: str | Target,
    *,
    rate: float = 0.1,
    clean_label: bool = False,
    near: float = 0.0,
    seed: int = 0,
    n: int | None = None,
    model: str | Path | None = None,
    out: str | Path | None = None,
) -> Poisoned:
    """Poison instruction data with a harmless target, to measure what a model learns from it.

    Args:
        data: A file of instruction data, or ``testbed:FAMILY`` (several with commas).
        trigger: What is hidden in a prompt: ``token:cf``, ``prefix:TEXT``, ``suffix:TEXT``,
            ``anywhere:TEXT``, ``pair:ONE+TWO``, ``style:lower``.
        target: What it brings about: ``phrase:TEXT``, ``label:TEXT``, ``refusal:TOPIC=TEXT``.
        rate: Share of the rows that are poisoned.
        clean_label: Whether only rows that are answered with the target already get the trigger, so
            that no response changes.
        near: Share of the rows that get a near miss of the trigger and keep their response.
        seed: Seed of which rows, and of where the trigger stands.
        n: Rows: the first of a file (all without), or drawn from the testbed (2,000 without).
        model: A model whose tokenizer must be able to represent the trigger.
        out: A jsonl file for the rows.

    Returns:
        The rows; every changed one says what was done to it.

    Raises:
        OptionError: For a trigger, target, share or number that makes no sense.
        ProbeError: For data that cannot be read, or has too few rows that can be poisoned so.
        OutputError: When ``out`` cannot be written.
    """
    attack = Attack(
        trigger if isinstance(trigger, Trigger) else Trigger.read(trigger),
        target if isinstance(target, Target) else Target.read(target),
        "clean" if clean_label else "dirty",
    )
    place = None if out is None else _checked(Path(out), data)
    if model is not None:
        check_trigger(attack.trigger, _tokenizer(resolve(model)))
    found = poisoned(data, attack, rate, near=near, seed=seed, n=n)
    if place is not None:
        found.save(place)
    return found


def poisoned(
    data: str | Path,
    attack: Attack,
    rate: float,
    *,
    near: float = 0.0,
    seed: int = 0,
    n: int | None = None,
) -> Poisoned:
    """Data that an attack was put into; for the arguments see `poison`.

    Of the testbed these are the rows that `tuning_data` trains on, so its held-out rows are a test
    that shares no instance with them.
    """
    spec = str(data)
    if n is not None and n < 1:
        raise OptionError(f"n must be 1 or more, not {n}")
    left_out: Mapping[str, int] = {}
    if spec.startswith(PREFIX):
        drawn = generated(spec.removeprefix(PREFIX).split(","), n)
        name, rows = drawn.name, tuple(drawn.train)
    else:
        check_file(spec)
        read = load_instructions(spec)
        name, rows, left_out = read.name, read.rows[:n], read.left_out
        if n is not None and n > len(rows):
            raise OptionError(f"{spec} has {len(rows)} rows: --n {n} is too many")
    changed = poison_rows(rows, attack, rate, near=near, seed=seed)
    return Poisoned(name, attack, rate, seed, tuple(changed), left_out)


def _checked(out: Path, data: str | Path) -> Path:
    """Where the rows go, once that is known to be a file that is not the data's own."""
    if out.suffix.lower() != ".jsonl":
        raise OptionError(f"--out {out} is no .jsonl file: name one")
    if out.exists() and Path(data).exists() and out.samefile(data):
        raise OptionError(f"--out {out} is the data itself, which would be lost: name another file")
    check_writable(out.parent)
    return out


def _tokenizer(model: Any) -> Any:
    """A model's tokenizer, without the model."""
    import transformers

    with speaking_for_transformers(str(model)):
        return transformers.AutoTokenizer.from_pretrained(str(model))

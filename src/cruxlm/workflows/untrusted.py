"""Rows that are not trusted: what their key says, and an attack planted in them as a drill."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cruxlm.data.key import TRIGGERED
from cruxlm.data.poison import Attack, Target, poison
from cruxlm.data.shapes import ChatRow
from cruxlm.data.trigger import Trigger
from cruxlm.runtime.errors import OptionError, ProbeError
from cruxlm.workflows.attack_rates import grade_by_rows
from cruxlm.workflows.tuning_data import TuningData, concluding, tuning_data

PLANTED, KEY = "planted", "key"
"""Where an attack is known from: planted by this run, or told by the rows."""


@dataclass(frozen=True)
class Untrusted:
    """Rows to train on, which may be poisoned, and rows to test with, which no key says are."""

    data: TuningData
    """All rows."""
    attack: Attack | None
    """The attack that is known to be in the training rows."""
    origin: str | None
    """``PLANTED``, ``KEY`` or None."""
    warnings: tuple[str, ...]
    """What a reader must know of the rows."""

    @property
    def poisoned(self) -> int:
        """Training rows that are known to be poisoned."""
        return sum(map(is_triggered, self.data.train))


def is_triggered(row: ChatRow) -> bool:
    """Whether the key of a row says that it has a trigger."""
    return bool(row.get("poison", {}).get("done") == TRIGGERED)


def untrusted(
    spec: str | Path,
    *,
    n: int | None,
    test: str | Path | None,
    attack: Attack | None,
    rate: float,
    near: float,
    seed: int,
) -> Untrusted:
    """Read rows as for a tuning; plant an attack in those that are trained on, where one is given.

    Args:
        spec: As for ``tuning_data``, and so ``n`` and ``test``.
        attack: What to plant; None to plant nothing.
        rate: Share of the training rows that get it.
        near: Share that gets something near the trigger.
        seed: Seed of which rows.

    Raises:
        OptionError: When the rows have a key already and an attack is to be planted.
        ProbeError: When rows cannot be read, or too few can be poisoned.
    """
    read = tuning_data(spec, n=n, test=test)
    known = known_attacks(read.train)
    if attack is not None:
        if any(map(is_triggered, read.train)):
            raise OptionError(
                f"rows of {read.name} are poisoned already and say how: leave out the trigger and "
                "the target"
            )
        rows = poison(read.train, attack, rate, near=near, seed=seed)
        return Untrusted(with_train(read, rows), attack, PLANTED, ())
    tested = [row for row in read.test if "poison" not in row]
    if not tested:
        raise ProbeError(f"every test row of {read.name} is poisoned: give clean ones with --test")
    grade = read.grade or concluding(tested)
    if grade is None and not all(row.get("choices") for row in tested):
        grade = grade_by_rows(tested)  # some have choices, some an answer
    read = replace(read, test=tested, grade=grade)
    warnings = []
    if not any("poison" in row for row in read.train) and test is None:
        warnings.append("the test rows are as little trusted as the others: give some with --test")
    if len(known) > 1:
        warnings.append(f"{len(known)} attacks are known in the rows: the commonest is measured")
    found = known.most_common(1)[0][0] if known else None
    return Untrusted(read, found, KEY if known else None, tuple(warnings))


def known_attacks(rows: Sequence[ChatRow]) -> Counter[Attack]:
    """The attacks that the keys of rows tell, and how many rows each is in.

    Raises ``OptionError`` for a key that tells none that there can be.
    """
    found: Counter[Attack] = Counter()
    for row in filter(is_triggered, rows):
        record = row["poison"]
        if "trigger" in record and "target" in record:  # one made by hand may say neither
            trigger, target = Trigger.read(record["trigger"]), Target.read(record["target"])
            found[Attack(trigger, target, record.get("label", "dirty"))] += 1
    return found


def with_train(read: TuningData, rows: Sequence[ChatRow]) -> TuningData:
    """The same data with other training rows, and a hash that tells them."""
    text = json.dumps([read.sha256, *rows], sort_keys=True)
    return replace(read, train=rows, sha256=hashlib.sha256(text.encode()).hexdigest())

"""The generated language: seeded instruction rows, drawn one at a time.

>>> row("heldout", 3, families=["sum_steps"], level=2).response
'5+7=12, 3+2+1=6. So 62.'
"""

import math
from collections.abc import Iterable, Mapping
from random import Random

from cruxlm.runtime.errors import OptionError, did_you_mean
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.reading import grade
from cruxlm.testbed.row import SPLITS, Family, Row, assemble, split_of

MIXTURE = {
    "recall": 0.15,
    "profile": 0.05,
    "two_hop": 0.06,
    "sum_steps": 0.04,
    "sum_first": 0.07,
    "sum_direct": 0.18,
    "lists": 0.10,
    "compose": 0.08,
    "deduction": 0.14,
    "deduction_direct": 0.07,
    "sentiment": 0.02,
    "topic": 0.02,
    "story": 0.02,
}
"""The families of pretraining, with their share of the rows."""


def family_named(name: str) -> Family:
    """A family by its name.

    Raises:
        OptionError: When there is none of that name.
    """
    known = FAMILIES | TARGETS
    if name not in known:
        raise OptionError(f"there is no family {name!r}: {did_you_mean(name, known)}")
    return known[name]


def row(
    split: str,
    index: int,
    seed: int = 0,
    families: Mapping[str, float] | Iterable[str] = MIXTURE,
    level: int | None = None,
    hardest: float = 1.0,
) -> Row:
    """Draw row number ``index`` of a split.

    Every row has random numbers of its own, so any row can be drawn without those before
    it, in any process, with the same result.

    Args:
        split: ``"train"``, ``"instruct"`` or ``"heldout"``. Their instances are disjoint for
            all seeds.
        index: The number of the row, from 0 and without an upper end.
        seed: Another seed gives other rows of the same language (and the same facts).
        families: Names of the families to draw from, with their shares of the rows (which
            need not add up to one) or without, for equal shares.
        level: The difficulty, at most a family's hardest; drawn evenly when left out. Of
            several families, those that have no such level are drawn at their hardest.
        hardest: The share of each family's levels that are drawn from, easy ones first: a
            curriculum lets it rise.

    Raises:
        OptionError: On an unknown split, an unknown or empty choice of families, or a level
            that none of them has.
    """
    if split not in SPLITS:
        raise OptionError(f"there is no split {split!r}: {did_you_mean(split, SPLITS)}")
    shares = dict(families) if isinstance(families, Mapping) else dict.fromkeys(families, 1.0)
    if not shares:
        raise OptionError("no family to draw rows from: name one or more")
    _check(shares, level)
    # A string seed is hashed by SHA-512 and so is the same in every process.
    choice = Random(f"{seed}/{split}/{index}")
    names = sorted(shares)
    family = family_named(choice.choices(names, [shares[name] for name in names])[0])
    top = max(1, math.ceil(hardest * family.levels - 1e-9))
    drawn = choice.randint(1, top) if level is None else max(1, min(level, family.levels))
    random = Random(f"{seed}/{split}/{index}/{family.name}/{drawn}")
    while True:
        draft = family.draw(random, drawn)
        if ("heldout" if draft.held_out else split_of(draft.instance)) == split:
            break
    return assemble(draft, family.name, drawn, f"{family.name}-{drawn}-{split}-{seed}-{index}")


def _check(shares: Mapping[str, float], level: int | None) -> None:
    """Refuse a choice that cannot be drawn from, also where the dice would not have met it."""
    for name in shares:
        if name not in FAMILIES and name not in TARGETS:
            family_named(name)
    values = shares.values()
    if not (0 < sum(values) < math.inf and min(values) >= 0):
        raise OptionError(f"shares of families are {shares}: give numbers from 0 up, not all 0")
    if level is None:
        return
    hardest = max(family_named(name).levels for name in shares)
    if not 1 <= level <= hardest:
        whose = f"{next(iter(shares))} has" if len(shares) == 1 else "these families have"
        raise OptionError(f"there is no level {level}: {whose} 1 to {hardest}")


def rows(
    split: str,
    n: int,
    seed: int = 0,
    families: Mapping[str, float] | Iterable[str] = MIXTURE,
    level: int | None = None,
) -> list[Row]:
    """The first ``n`` rows of a split; for the arguments see `row`.

    Rows are drawn with replacement: families with few instances (recall has some 10,000
    questions) repeat themselves in a long draw.
    """
    shares = dict(families) if isinstance(families, Mapping) else list(families)
    return [row(split, index, seed, shares, level) for index in range(n)]


def is_right(asked: Row, response: str) -> bool | None:
    """Whether a response to a row is right; None for a row without a right answer."""
    return grade(family_named(asked.family), asked, response)

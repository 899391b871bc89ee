"""The generated language: seeded instruction rows, drawn one at a time.

>>> row("heldout", 0, families=["addition"]).response
'8+8=16, 2+1+1=4, 0+7=7. So 746.'
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from .families import FAMILIES
from .row import Row, Split, split_of

__all__ = ["FAMILIES", "Row", "Split", "row", "rows"]


def row(split: Split, index: int, seed: int = 0, families: Iterable[str] | None = None) -> Row:
    """Draw row number ``index`` of a split.

    Every row has random numbers of its own, so any row can be drawn without those before
    it, in any process, with the same result.

    Args:
        split: ``"train"`` or ``"heldout"``. Their instances are disjoint for all seeds.
        index: The number of the row, from 0 and without an upper end.
        seed: Another seed gives other rows of the same language (and the same facts).
        families: Names of the families to draw from, all when left out. Their weights
            keep their ratios.

    Raises:
        ValueError: On an unknown split, or an unknown or empty choice of families.
    """
    if split not in ("train", "heldout"):
        raise ValueError(f"unknown split {split!r}; there are 'train' and 'heldout'")
    chosen = sorted(set(FAMILIES if families is None else families))
    unknown = [name for name in chosen if name not in FAMILIES]
    if unknown or not chosen:
        raise ValueError(f"unknown families {unknown}; choose from {', '.join(FAMILIES)}")
    # A string seed is hashed by SHA-512 and so is the same in every process.
    random = Random(f"{seed}/{split}/{index}")
    weights = [FAMILIES[name].weight for name in chosen]
    family = FAMILIES[random.choices(chosen, weights)[0]]
    while True:
        draft = family.draw(random)
        if split_of(draft.instance) == split:
            break
    return Row(
        id=f"{family.name}-{split}-{seed}-{index}",
        family=family.name,
        prompt=draft.prompt,
        response=draft.response,
        answer=draft.answer,
    )


def rows(split: Split, n: int, seed: int = 0, families: Iterable[str] | None = None) -> list[Row]:
    """The first ``n`` rows of a split; for the arguments see `row`.

    Rows are drawn with replacement: families with few instances (recall has 5,000
    questions) repeat themselves in a long draw.
    """
    names = None if families is None else list(families)
    return [row(split, index, seed, names) for index in range(n)]

"""What the cells of the study `backdoor` say together: rates, differences, rank correlations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from cruxlm.numerics.paired import Difference, paired_shares
from cruxlm.numerics.ranks import spearman

CARRIED = 0.1
"""Share of an attack's success that putting its carrier back takes, at least."""

Cell = Mapping[str, Any]
Cells = Mapping[str, Cell]
Condition = tuple[str, int]
"""An attack, and how many per mille of the rows it poisons."""


def grid_name(attack: str, rate: float, arm: str, base: int) -> str:
    """What the cell of an arm is called."""
    return f"arm-{attack}-{per_mille(rate)}-{arm.replace('+', '.')}-{base}"


def per_mille(rate: float) -> int:
    """A share of the rows in whole thousandths."""
    return round(1000 * rate)


class Figures:
    """The arms of a study's grid, by condition and base model."""

    def __init__(self, cells: Cells) -> None:
        self._arms: dict[tuple[Condition, str], list[Cell]] = {}
        for name, cell in cells.items():
            if name.startswith("arm-"):
                attack, rate, *words, _ = name.removeprefix("arm-").split("-")
                arm = "-".join(words).replace(".", "+")
                self._arms.setdefault(((attack, int(rate)), arm), []).append(cell)
        self.conditions = list(dict.fromkeys(condition for condition, _ in self._arms))
        """Attacks and rates, in the grid's order."""
        self.arms = list(dict.fromkeys(arm for _, arm in self._arms))
        """The arms."""

    def cells(self, condition: Condition, arm: str) -> list[Cell]:
        """The cells of an arm, by base model; none where the grid does not have it."""
        return self._arms.get((condition, arm), [])

    def share(self, condition: Condition, arm: str, rate: str = "success") -> float:
        """Mean of a rate over examples and base models; NaN where the grid does not have it."""
        held = [np.nanmean(cell["values"][rate]) for cell in self.cells(condition, arm)]
        return float(np.mean(held)) if held else float("nan")

    def loss(self, condition: Condition, arm: str) -> float:
        """Mean clean loss over base models, in nats a token."""
        held = [cell["loss"] for cell in self.cells(condition, arm)]
        return float(np.mean(held)) if held else float("nan")

    def difference(
        self, arm: str, other: str, conditions: Sequence[Condition], rate: str = "success"
    ) -> Difference:
        """How much lower a rate is under an arm than under another, paired by base and example."""
        apart = [
            self._values(condition, other, rate) - self._values(condition, arm, rate)
            for condition in conditions
        ]
        return paired_shares(np.concatenate(apart, axis=1))

    def _values(
        self, condition: Condition, arm: str, rate: str
    ) -> Float64[np.ndarray, "seeds samples"]:
        return np.array([cell["values"][rate] for cell in self.cells(condition, arm)], dtype=float)

    def located(self, condition: Condition, arm: str = "none") -> Iterator[Cell]:
        """The models of an arm that freezes no block on which the attack works and was located."""
        for cell in self.cells(condition, arm):
            if cell["oracle"] is not None:
                yield cell


def oracle(cell: Cell, window: str = "1") -> Float64[np.ndarray, " blocks"]:
    """The share of the attack's success that putting each block back takes away."""
    return np.array(cell["oracle"][window], dtype=float)


def carried(cell: Cell) -> bool:
    """Whether putting some run of blocks back takes a share of the success worth the name."""
    return bool(max(oracle(cell, window).max() for window in ("1", "3")) >= CARRIED)


def rank_agreement(
    cells: Sequence[Cell], index: str, window: str = "1"
) -> tuple[float | None, int]:
    """Mean Spearman of an index with the oracle over models, and how often their first agree."""
    found, hits = [], 0
    for cell in cells:
        values = np.array(cell["indices"][index], dtype=float)
        truth = oracle(cell, window)
        known = np.isfinite(values)
        rho = spearman(values[known], truth[known])
        if rho is not None:
            found.append(rho)
        hits += int(np.nanargmax(values) == np.argmax(truth))
    return (float(np.mean(found)) if found else None), hits


def share_said(value: Any) -> str:
    """A share as a person reads it."""
    return f"{100 * float(value):.0f} %"


def name_of(condition: Condition) -> str:
    """A condition as a person reads it."""
    attack, rate = condition
    return f"{attack}, {rate / 10:g} %"


def carriers(found: Figures, condition: Condition, arm: str = "none") -> list[str]:
    """The oracle's first block in each base model, by one block and by three."""
    held = []
    for cell in found.cells(condition, arm):
        if cell["oracle"] is None:
            held.append("the attack fails")
            continue
        one, three = oracle(cell), oracle(cell, "3")
        held.append(
            f"{one.argmax()} ({one.max():.0%}), around {three.argmax()} ({three.max():.0%})"
        )
    return held

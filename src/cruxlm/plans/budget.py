"""What a budget buys: LoRA ranks spread over blocks, blocks that fit into memory."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from cruxlm.runtime.errors import OptionError

MemoryOf = Callable[[Sequence[int]], int]
"""Estimated bytes of a training step that trains these blocks."""


def spread_ranks(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Whole ranks that sum to ``total``, in proportion to ``weights``, at least 1 each.

    The exact shares are ``max(1, c w)`` with the one ``c`` that makes them sum to ``total``; they
    are rounded by the largest remainder, ties going to the lower place. Equal weights (or all 0)
    give equal ranks. Exact in rational numbers: the result does not hang on rounding.

    Raises:
        OptionError: When a weight is negative or undefined, or ``total`` is less than one each.
    """
    count = len(weights)
    if not all(0 <= weight < math.inf for weight in weights):
        raise OptionError("ranks cannot follow scores that are undefined or negative")
    if not 0 < count <= total:
        raise OptionError(f"a total rank of {total} is less than 1 for each of {count} blocks")
    shares = _shares(total, [Fraction(weight) for weight in weights])
    ranks = [int(share) for share in shares]
    by_remainder = sorted(range(count), key=lambda place: (ranks[place] - shares[place], place))
    for place in by_remainder[: total - sum(ranks)]:
        ranks[place] += 1
    return tuple(ranks)


def _shares(total: int, weights: list[Fraction]) -> list[Fraction]:
    """``max(1, c w)`` for each weight, summing to ``total``."""
    if not any(weights):
        return [Fraction(total, len(weights))] * len(weights)
    raised: set[int] = set()
    while True:
        rest = [place for place in range(len(weights)) if place not in raised]
        scale = Fraction(total - len(raised)) / sum((weights[p] for p in rest), Fraction(0))
        low = {place for place in rest if weights[place] * scale < 1}
        if not low:
            return [
                Fraction(1) if place in raised else weight * scale
                for place, weight in enumerate(weights)
            ]
        raised |= low


def not_negative(values: Sequence[float]) -> tuple[float, ...]:
    """Scores as weights: where one is negative, all are moved up until the lowest is 0."""
    shift = min(0.0, *values)
    return tuple(value - shift for value in values)


def within_memory(order: Sequence[int], memory: MemoryOf, budget: int) -> tuple[int, ...]:
    """The first blocks of ``order`` that can be trained together in ``budget`` bytes, ascending.

    Raises:
        OptionError: When not even the first can.
    """
    for count in range(1, len(order) + 1):
        needed = memory(sorted(order[:count]))
        if needed > budget:
            if count == 1:
                raise OptionError(
                    f"training block {order[0]} alone takes an estimated {readable(needed)}, "
                    f"more than {readable(budget)}: allow more, or use smaller batches"
                )
            return tuple(sorted(order[: count - 1]))
    return tuple(sorted(order))


def readable(size: int) -> str:
    """Bytes as GiB, or MiB where there are few."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"

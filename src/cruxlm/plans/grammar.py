"""The block grammar: what a person writes wherever a command or a function takes blocks.

Blocks by number or place (``3,7,8``, ``first:5``), a criterion with a rule (``dynamics:5``), or a
saved plan; each with its complement. ``EXPRESSIONS`` has every form.
"""

import os
import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from cruxlm.criteria import CRITERIA
from cruxlm.criteria.select import select
from cruxlm.plans.budget import MemoryOf, within_memory
from cruxlm.results.model_ref import ModelRef
from cruxlm.results.plan import Plan, listed
from cruxlm.results.scores import Scores
from cruxlm.results.selection import Selection
from cruxlm.runtime.errors import OptionError, did_you_mean

ScoreOf = Callable[[str], Scores]
"""Gives a criterion's scores (``dynamics``, ``dynamics:paper``); a workflow scans for them."""
EXPRESSIONS = {
    "3,7,8": "these blocks, counted from 0",
    "4-7": "from one block to another, both included; also among others, 0,4-7,11",
    "all": "every block",
    "first:5": "the first five",
    "last:5": "the last five",
    "middle:5": "the middle five",
    "random:5@3": "five at random with seed 3 (0 without)",
    "dynamics:5": "the five highest scores of a criterion",
    "dynamics:window:4": "by another selection rule",
    "dynamics:25%": "the highest scores that together hold at most a share of the weights",
    "dynamics:4GiB": "the highest scores, in order, whose training is estimated to fit",
    "plan.json": "the blocks that a saved plan trains",
}
"""An example of each form, and what it means."""
WORDS = ("all", "first", "last", "middle", "random")
UNITS = {"MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}


@dataclass(frozen=True)
class Chosen:
    """Blocks of a model, however they were written."""

    blocks: tuple[int, ...]
    """The blocks, ascending, never empty."""
    reasons: tuple[str, ...]
    """Why each is in, in the order of ``blocks``."""
    why: str
    """Where they come from."""
    admissible: tuple[int, ...]
    """The blocks that could have been chosen; controls draw from them."""
    values: tuple[float, ...] | None = None
    """Score of every block of the model, where a criterion chose."""
    frequency: tuple[float, ...] | None = None
    """Share of half-samples that select each block of the model, where there are any."""


def blocks_of(
    text: str,
    model: ModelRef,
    score: ScoreOf | None = None,
    *,
    complement: bool = False,
    ends: str = "skip",
    memory: MemoryOf | None = None,
    admissible: Collection[int] | None = None,
) -> Chosen:
    """Read a block expression for a model.

    ``score`` is called for an expression that names a criterion, and ``memory`` for one with a
    budget. ``ends`` is that of ``criteria.select.select``. ``admissible`` are the blocks that
    ``random`` draws from, all by default. ``complement`` takes the other blocks.

    Raises:
        OptionError: When the expression makes no sense, asks for more than there is, or leaves
            nothing; when it is a plan for another model.
        ResultError: When it is a plan that cannot be read.
    """
    chosen = _read(text.strip(), model, score, ends, memory, admissible)
    if not complement:
        return chosen
    every = range(len(model.names))
    rest = tuple(block for block in every if block not in chosen.blocks)
    if not rest:
        raise OptionError(f"the complement of {text}, which is every block, is empty")
    reasons = (f"not in {text}",) * len(rest)
    return Chosen(rest, reasons, f"complement of {chosen.why}", tuple(every))


def chosen_from(selection: Selection) -> Chosen:
    """A selection as chosen blocks."""
    return Chosen(
        blocks=selection.blocks,
        reasons=selection.reasons,
        why=f"{selection.criterion} {selection.rule}",
        admissible=selection.admissible,
        values=selection.values,
        frequency=selection.frequency,
    )


def first(k: int, count: int) -> tuple[int, ...]:
    """The first ``k`` of ``count`` blocks."""
    return tuple(range(count))[:k]


def last(k: int, count: int) -> tuple[int, ...]:
    """The last ``k`` of ``count`` blocks."""
    return tuple(range(count))[count - k :]


def middle(k: int, count: int) -> tuple[int, ...]:
    """The middle ``k`` of ``count`` blocks; the lower ones where two sets are equally central."""
    start = (count - k) // 2
    return tuple(range(start, start + k))


def drawn(k: int, seed: int, count: int, admissible: Collection[int]) -> tuple[int, ...]:
    """``k`` of the admissible blocks at random, the same in every process and Python version.

    Every block gets a random number from the seed and the smallest are taken, so that a seed puts
    the blocks in one order, whatever is admissible and however many are asked for.
    """
    draw = random.Random(seed)  # of which only random() is promised to stay what it is
    keys = [draw.random() for _ in range(count)]
    return tuple(sorted(sorted(admissible, key=keys.__getitem__)[:k]))


def _read(
    text: str,
    model: ModelRef,
    score: ScoreOf | None,
    ends: str,
    memory: MemoryOf | None,
    admissible: Collection[int] | None,
) -> Chosen:
    count = len(model.names)
    every = tuple(range(count))
    word, _, size = text.partition(":")
    if text.endswith(".json") or (os.sep in text and os.path.isfile(text)):
        return _from_plan(text, model)
    if re.fullmatch(r"[\d\s,-]+", text):
        blocks = _numbers(text, count)
        return Chosen(blocks, ("given",) * len(blocks), text, every)
    if word == "all":
        if size:
            raise OptionError(f"{text}: all takes no number")
        return Chosen(every, ("all blocks",) * count, text, every)
    if word == "random":
        among = every if admissible is None else tuple(sorted(admissible))
        number, _, seed = size.partition("@")
        k = _number(number, word, len(among))
        if not re.fullmatch(r"\d{0,18}", seed):
            raise OptionError(f"{text}: a seed is a whole number, such as random:{k}@0")
        blocks = drawn(k, int(seed or 0), count, among)
        return Chosen(blocks, (f"drawn with seed {seed or 0}",) * k, text, among)
    if word in ("first", "last", "middle"):
        k = _number(size, word, count)
        blocks = {"first": first, "last": last, "middle": middle}[word](k, count)
        return Chosen(blocks, (f"one of the {word} {k}",) * k, text, every)
    return _from_criterion(text, model, score, ends, memory)


def _numbers(text: str, count: int) -> tuple[int, ...]:
    """Blocks that are named one by one and in ranges."""
    blocks: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", item)
        if found is None:
            raise OptionError(f"{item.strip() or text!r} is no block: write 3,7,8 or 4-7")
        low, high = int(found[1]), int(found[2] or found[1])
        if low > high:
            raise OptionError(f"{item.strip()}: a range goes from the lower block to the higher")
        if high >= count:
            raise OptionError(f"block {high}: the model has blocks 0 to {count - 1}")
        blocks += range(low, high + 1)
    twice = sorted({block for block in blocks if blocks.count(block) > 1})
    if twice:
        raise OptionError(f"{listed(twice)} named twice in {text}")
    return tuple(sorted(blocks))


def _number(text: str, word: str, available: int) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise OptionError(f"{word} needs a number of blocks, such as {word}:5, not {text!r}")
    if int(text) > available:
        raise OptionError(f"{word}:{text} asks for more than the {available} blocks there are")
    return int(text)


def _from_plan(path: str, model: ModelRef) -> Chosen:
    plan = Plan.load(path)
    plan.check(model, path)
    if not plan.trained:
        raise OptionError(f"{path} trains no block: it is a plan to {plan.action}")
    reasons = plan.reasons
    if plan.trained != plan.blocks:
        reasons = (f"not among those to {plan.action}",) * len(plan.trained)
    return Chosen(plan.trained, reasons, f"{path}: {plan.why}", tuple(range(len(plan.names))))


def _from_criterion(
    text: str, model: ModelRef, score: ScoreOf | None, ends: str, memory: MemoryOf | None
) -> Chosen:
    name, _, rule = text.partition(":")
    known = [*WORDS, *CRITERIA.names(), *CRITERIA.aliases()]
    if name not in known:
        hint = did_you_mean(name, known)
        raise OptionError(f"no blocks can be chosen by {name!r}: {hint}")
    criterion = CRITERIA.canonical(name)
    preset, _, rest = rule.partition(":")
    if preset in CRITERIA.get(criterion).presets:
        criterion, rule = f"{criterion}:{preset}", rest
    if score is None:
        raise OptionError(f"{text} needs a scan of the model: give blocks by number here")
    budget = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([A-Za-z]*B)", rule)
    if budget is not None:
        size = _bytes(budget[1], budget[2], text)
        if memory is None:
            raise OptionError(f"{text}: a memory budget needs a method, a batch and its tokens")
        return _within(text, score(criterion), memory, size, ends)
    share = re.fullmatch(r"\d+(?:\.\d+)?%", rule)
    return chosen_from(
        select(
            score(criterion),
            f"share:{rule}" if share else rule or None,
            ends=ends,
            parameters=model.parameters,
        )
    )


def _bytes(number: str, unit: str, text: str) -> int:
    if unit not in UNITS:
        raise OptionError(f"{text}: a budget is in {', '.join(UNITS)}")
    return int(float(number) * UNITS[unit])


def _within(text: str, scores: Scores, memory: MemoryOf, budget: int, ends: str) -> Chosen:
    """The highest scores, in order, that can be trained together within the budget."""
    admissible = select(scores, "top:1", ends=ends).admissible
    blocks = within_memory(by_score(scores.values.tolist(), admissible), memory, budget)
    found = select(scores, f"top:{len(blocks)}", ends=ends)
    return replace(chosen_from(found), why=text)


def by_score(values: Sequence[float], blocks: Collection[int]) -> list[int]:
    """Highest score first, the lower block first among equals."""
    return sorted(blocks, key=lambda block: (-values[block], block))

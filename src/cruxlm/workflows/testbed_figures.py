"""How well a model knows the generated language, and which blocks it needs for that."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerBase

from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example, examples_from_chats
from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.patch import Patch
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.runtime.progress import progress
from cruxlm.testbed.card import Figures
from cruxlm.testbed.families import FAMILIES
from cruxlm.testbed.home import DEFAULT, PREFIX, resolve
from cruxlm.testbed.language import family_named, is_right, rows

BUILTIN = f"{PREFIX}{DEFAULT}"
"""What the embedded default is called: a result names a model as it was asked for."""


def held_out_examples(
    tokenizer: PreTrainedTokenizerBase, family: str, n: int, seed: int = 0
) -> list[Example]:
    """Held-out rows of a family, drawn evenly from its levels, with the family's grader."""
    drawn = {row.id: row for row in rows("heldout", n, seed, [family])}
    return examples_from_chats(
        tokenizer,
        [row.as_chat() for row in drawn.values()],
        grade=lambda chat, text: is_right(drawn[chat["id"]], text),
    )


def losses(
    model: Any, tokenizer: PreTrainedTokenizerBase, families: Sequence[str], n: int
) -> dict[str, float]:
    """Held-out loss of each family in nats a response token, under ``loss_FAMILY``."""
    return {
        f"loss_{name}": round(Loss()(model, held_out_examples(tokenizer, name, n)).mean("token"), 5)
        for name in families
    }


def held_out(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    n: int,
    seed: int = 0,
    families: Sequence[str] = tuple(FAMILIES),
) -> dict[str, Figures]:
    """Measure a model on ``n`` held-out rows of each family.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        n: Rows of each family.
        seed: Seed of the rows.
        families: Names of the families.
    """
    return {name: _figures(model, tokenizer, name, n, seed) for name in families}


def _figures(
    model: Any, tokenizer: PreTrainedTokenizerBase, family: str, n: int, seed: int
) -> Figures:
    examples = held_out_examples(tokenizer, family, n, seed)
    accuracy = choice = None
    if family_named(family).read is not None:
        accuracy = Generation(tokenizer)(model, examples)
    choosable = [example for example in examples if example.choices]
    if choosable:
        choice = Choice()(model, choosable)
    error = accuracy.stderr() if accuracy else math.nan
    return Figures(
        rows=len(examples),
        loss=Loss()(model, examples).mean("token"),
        accuracy=accuracy.mean() if accuracy else None,
        accuracy_error=error if math.isfinite(error) else None,  # one row has none
        choice=choice.mean() if choice else None,
        chance=choice.chance if choice else None,
    )


@dataclass(frozen=True)
class LanguageFigures:
    """What a model knows of the language."""

    model: str
    """The model's name."""
    seed: int
    """Seed of the rows."""
    families: dict[str, Figures]
    """What was measured, by family."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        measured = {name: vars(figures) for name, figures in self.families.items()}
        return {"model": self.model, "seed": self.seed, "families": measured}


def evaluate_model(
    model: str | None = None,
    families: Sequence[str] | None = None,
    *,
    n: int = 200,
    seed: int = 0,
    show_progress: bool = False,
) -> LanguageFigures:
    """Measure a model on held-out rows of the language.

    Args:
        model: ``testbed:NAME``, a folder or a hub id; the embedded default when left out.
        families: Names of families; those that models are taught when left out.
        n: Rows of each family.
        seed: Seed of the rows.
        show_progress: Whether to show a bar.
    """
    names = _known(families)
    loaded = _load(model)
    measured = {}
    with progress("measuring", len(names), show=show_progress) as tick:
        for name in names:
            measured[name] = _figures(loaded, loaded.tokenizer, name, n, seed)
            tick(1)
    return LanguageFigures(model or BUILTIN, seed, measured)


@dataclass(frozen=True)
class BlockCosts:
    """What the removal of blocks costs: the rise of a family's loss in nats a response token."""

    model: str
    """The model's name."""
    rows: int
    """Held-out rows of each family."""
    whole: dict[str, float]
    """Loss of the whole model, by family."""
    removed: list[tuple[int, int]]
    """First and last block that was removed, each time: single blocks, then runs."""
    costs: dict[str, list[float]]
    """Rise of the loss without those blocks, by family."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "removed": [list(pair) for pair in self.removed]}


def ablate_blocks(
    model: str | None = None,
    families: Sequence[str] | None = None,
    *,
    n: int = 64,
    seed: int = 0,
    run: int = 4,
    show_progress: bool = False,
) -> BlockCosts:
    """Remove each block, and each run of blocks, and see what every family loses.

    A removed block passes its input on. For the arguments see `evaluate_model`.

    Args:
        model: ``testbed:NAME``, a folder or a hub id; the embedded default when left out.
        families: Names of families; those that models are taught when left out.
        n: Rows of each family.
        seed: Seed of the rows.
        run: Blocks of a run; runs do not overlap.
        show_progress: Whether to show a bar.
    """
    names = _known(families)
    loaded = _load(model)
    blocks = loaded.blocks.modules
    last = len(blocks) - 1
    removed = [(i, i) for i in range(len(blocks))]
    removed += [(i, min(i + run - 1, last)) for i in range(0, len(blocks), run) if run > 1]

    @contextmanager
    def without(first: int, end: int) -> Iterator[None]:
        with Patch() as patch:
            for block in blocks[first : end + 1]:
                patch.skip(block)
            yield

    whole: dict[str, float] = {}
    costs: dict[str, list[float]] = {}
    with progress("removing blocks", len(names) * len(removed), show=show_progress) as tick:
        for name in names:
            examples = held_out_examples(loaded.tokenizer, name, n, seed)
            sweep = Sweep(Subject(loaded, examples, Loss()), {})
            whole[name], costs[name] = sweep.whole.mean("token"), []
            for first, end in removed:
                found = sweep.evaluate(partial(without, first, end), first, {"skip": [first, end]})
                costs[name].append(found.mean("token") - whole[name])
                tick(1)
    return BlockCosts(model or BUILTIN, n, whole, removed, costs)


def _known(families: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(FAMILIES if families is None else families))
    for name in names:
        family_named(name)
    if not names:
        raise OptionError("no family to measure on: name one or more")
    return names


def _load(model: str | None) -> LoadedModel:
    loaded = load_model(resolve(model))
    if loaded.tokenizer is None:
        raise ModelError(f"{loaded.name} has no tokenizer: it cannot read rows")
    return loaded

"""A model and its data, ready to be tuned, and how it is measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cruxlm.actions.settings import Settings
from cruxlm.data.supervised import Supervised, encode_rows
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example, examples_from_chats, fitting
from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.locate import text_config
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.tuning import ACCURACY, LOSS
from cruxlm.runtime.errors import ModelError, OptionError, ProbeError
from cruxlm.testbed.home import resolve
from cruxlm.workflows.planned import Planner
from cruxlm.workflows.tuning_data import TuningData, tuning_data
from cruxlm.workflows.tuning_items import pack_length


@dataclass(frozen=True)
class Prepared:
    """A model and its data, ready to be trained on one or more plans."""

    model: LoadedModel
    """The model."""
    data: TuningData
    """Its rows."""
    rows: Supervised
    """The training rows in the model's tokens."""
    validation: list[Example]
    """What the validation loss is measured on; may be empty."""
    test: list[Example]
    """What the result is measured on."""
    limit: int
    """Tokens of the longest row."""

    @property
    def has_choices(self) -> bool:
        """Whether each test row is answered by one of several given responses."""
        return self.data.grade is None and all(example.choices for example in self.test)

    def judged(self, accuracy: bool | None) -> bool:
        """Whether accuracy is measured: as told, else where there is something to judge by."""
        known = self.data.grade is not None or self.has_choices
        return known if accuracy is None else accuracy

    def tokens(self, settings: Settings) -> int:
        """Tokens of the longest sequence that is trained on."""
        if settings.pack:
            return pack_length(self.rows, self.limit)
        return max(len(row.tokens) for row in self.rows.rows)

    def planner(self, asked: Any, settings: Settings, *, show_progress: bool = False) -> Planner:
        """What makes plans for the model, which was asked for by ``asked``."""
        tokens = self.tokens(settings)
        return Planner(
            self.model, asked, batch=settings.batch, tokens=tokens, show_progress=show_progress
        )

    def described(self) -> dict[str, Any]:
        """What was read, as plain data."""
        too_long = {
            "too_long_to_validate": len(self.data.validation) - len(self.validation),
            "too_long_to_test": len(self.data.test) - len(self.test),
        }
        found = {**self.data.left_out, **self.rows.left_out, **too_long}
        return {
            "name": self.data.name,
            "sha256": self.data.sha256,
            "test_sha256": self.data.test_sha256,
            "max_tokens": self.limit,
            "train": len(self.rows.rows),
            "validation": len(self.validation),
            "test": len(self.test),
            "truncated": self.rows.truncated,
            "left_out": {why: count for why, count in found.items() if count},
        }

    def lines(self, accuracy: bool | None) -> list[str]:
        """The data and what is measured on them, as a person reads it."""
        said = self.described()
        left = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in said["left_out"].items())
        return [
            f"data {said['name']}: {said['train']} rows to train on, {said['validation']} to "
            f"validate, {said['test']} to test; {said['truncated']} cut at {self.limit} tokens; "
            f"left out: {left or 'none'}",
            f"measure loss{' and accuracy' if self.judged(accuracy) else ''}",
        ]


def prepared(
    model: Any,
    data: str | Path,
    n: int | None,
    test: str | Path | None,
    max_tokens: int | None,
    loading: Mapping[str, Any],
) -> Prepared:
    """Load a model and read its data."""
    _check_longest(max_tokens)
    read = tuning_data(data, n=n, test=test)
    return made_ready(load_model(resolve(model), **loading), read, max_tokens)


def made_ready(loaded: LoadedModel, read: TuningData, max_tokens: int | None = None) -> Prepared:
    """A loaded model with rows that have been read."""
    _check_longest(max_tokens)
    if loaded.tokenizer is None:
        raise ModelError(f"{loaded.name} has no tokenizer: pass one")
    limits = [limit for limit in (max_tokens, loaded.context) if limit is not None]
    if not limits:
        raise OptionError(f"nothing says how long a row {loaded.name} can read: give --max-tokens")
    limit = min(limits)
    vocabulary = getattr(text_config(loaded.module), "vocab_size", None)
    rows = encode_rows(loaded.tokenizer, read.train, limit, vocabulary)
    validation, _ = fitting(examples_from_chats(loaded.tokenizer, read.validation), limit)
    tested, _ = fitting(examples_from_chats(loaded.tokenizer, read.test, read.grade), limit)
    if not tested:
        raise ProbeError(f"no test row of {read.name} fits {limit} tokens: give a longer limit")
    return Prepared(loaded, read, rows, validation, tested, limit)


def _check_longest(max_tokens: int | None) -> None:
    if max_tokens is not None and max_tokens < 2:
        raise OptionError(f"max_tokens must be 2 or more, not {max_tokens}")


def measured(ready: Prepared, module: nn.Module, judged: bool) -> dict[str, Evaluation]:
    """Loss on the test rows, and accuracy: of the likeliest choice, or of greedy answers."""
    found = {LOSS: Loss()(module, ready.test)}
    if judged:
        judge = Choice() if ready.has_choices else Generation(ready.model.tokenizer)
        found[ACCURACY] = judge(module, ready.test)
    return found


def validation_loss(ready: Prepared, module: nn.Module) -> float:
    """Loss on the validation rows, in nats a token."""
    return Loss()(module, ready.validation).mean("token")

"""The one sweep: a model evaluated under one change after another, each on the same examples.

What every change leaves alone is computed once: the states below the lowest block that it touches.
Each evaluation is kept, so that a sweep which was killed goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from cruxlm.criteria.subject import Subject
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.protocol import Evaluator
from cruxlm.models.fingerprint import fingerprint, tokenizer_sha256
from cruxlm.models.replay import Replay
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.cache import Arrays
from cruxlm.runtime.environment import package_versions
from cruxlm.runtime.errors import NotFiniteError, OptionError

Change = Callable[[], AbstractContextManager[None]]
"""Makes a context in which the model is changed; afterwards it is as it was."""


class Sweep:
    """The intact model's evaluation, and those under changes.

    A value that is not finite under a change is no error: it is NaN, and ``warnings`` says so.
    Blocks are ticked by the criterion that sweeps.
    """

    def __init__(self, subject: Subject, description: Mapping[str, Any]) -> None:
        """Prepare a sweep; nothing is evaluated yet.

        Args:
            subject: The model, its examples and their evaluator. It may be changed already, as
                long as that stays as it is and ``description`` says so.
            description: What else every evaluation depends on, as plain data.

        Raises:
            OptionError: When there is no evaluator.
        """
        if subject.evaluator is None:
            raise OptionError("there is nothing to evaluate by: name an evaluator")
        self.subject = subject
        """What is evaluated."""
        self.warnings: list[str] = []
        """A line for every evaluation that has no value."""
        self._evaluator = subject.evaluator
        self._description = dict(description)
        self._replay: Replay | None = None

    @cached_property
    def whole(self) -> Evaluation:
        """The evaluation of the intact model.

        Raises:
            NotFiniteError: When it has no value on an example.
        """
        return self._intact(self._recorded)

    def baseline(self) -> Evaluation:
        """The same for a model that is not going to be changed: no states are remembered.

        Raises:
            NotFiniteError: When it has no value on an example.
        """
        return self._intact(self._evaluated)

    def _intact(self, make: Callable[[], Evaluation]) -> Evaluation:
        found = self._kept({"reference": None, "intact": True}, make)
        missing = np.flatnonzero(np.isnan(found.values))
        if missing.size:
            raise NotFiniteError(
                f"{self.subject.model.name} has no {found.evaluator} on {missing.size} of "
                f"{len(found)} examples ({found.ids[missing[0]]!r} first), so nothing can be "
                "compared with it: leave them out"
            )
        return found

    def evaluate(self, change: Change, lowest: int, what: Mapping[str, Any]) -> Evaluation:
        """The evaluation under a change.

        Args:
            change: Makes the change for a while.
            lowest: The lowest block that it touches: no state before it differs.
            what: Everything that the change depends on besides the models, as plain data; a change
                is known by it.

        Returns:
            One value an example; all NaN where some loss is not finite.
        """
        whole = self.whole

        def changed() -> Evaluation:
            if lowest and self._replay is None:  # the intact evaluation was kept by another run
                self._recorded()
            replay = self._replay.from_block(lowest) if self._replay else nullcontext()
            with replay, change():
                try:
                    return self._evaluated()
                except NotFiniteError:
                    return _without_values(whole)

        found = self._kept({"change": dict(what)}, changed)
        missing = int(np.isnan(found.values).sum())
        if missing:
            self.warnings.append(
                f"no {found.evaluator} on {missing} of {len(found)} examples under "
                f"{json.dumps(dict(what))}"
            )
        return found

    def _recorded(self) -> Evaluation:
        """The intact evaluation, whose states are remembered."""
        cache = self.subject.cache
        self._replay = Replay(self.subject.model, folder=None if cache is None else cache.folder)
        with self._replay.recording():
            return self._evaluated()

    def _evaluated(self) -> Evaluation:
        return self._evaluator(self.subject.model, self.subject.examples)

    def _kept(self, what: Mapping[str, Any], make: Callable[[], Evaluation]) -> Evaluation:
        """An evaluation from the cache, or made and put there."""
        cache = self.subject.cache
        if cache is None:
            return make()

        def pieces() -> Iterator[Arrays]:
            text = json.dumps(make().to_json(), allow_nan=False)
            yield {"evaluation": np.frombuffer(text.encode(), dtype=np.uint8)}

        held = cache.arrays({**self._key, **what}, pieces)["evaluation"]
        return Evaluation.from_json(json.loads(held.tobytes()))

    @cached_property
    def _key(self) -> dict[str, Any]:
        """Everything that every evaluation depends on, as plain data."""
        subject = self.subject
        other = subject.reference
        return {
            "what": "evaluation",
            "model": fingerprint(subject.model, subject.model.module),
            "tokenizer": tokenizer_sha256(subject.model.tokenizer),
            "reference": None if other is None else fingerprint(other, other.module),
            "evaluator": _evaluator_said(self._evaluator),
            "examples": _examples_sha256(subject.examples),
            "versions": package_versions(),
            **self._description,
        }


def _without_values(whole: Evaluation) -> Evaluation:
    """What an evaluation is that ended in losses which are not finite."""
    return replace(whole, values=np.full(len(whole), np.nan), texts=None, series={})


def _evaluator_said(evaluator: Evaluator) -> dict[str, Any]:
    """An evaluator and its options as plain data."""
    kind: Any = type(evaluator)
    held = (
        vars(evaluator)
        if not is_dataclass(evaluator)
        else {field.name: getattr(evaluator, field.name) for field in fields(evaluator)}
    )
    options = {
        name: tokenizer_sha256(value) if hasattr(value, "get_vocab") else value
        for name, value in held.items()
    }
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "options": json.dumps(options, default=repr),
    }


def _examples_sha256(examples: Sequence[Example]) -> str:
    """Hash of everything in the examples; of what grades them, its name and what it is bound to."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(replace(example, grade=None)).encode())
        grade: Any = example.grade
        bound = (grade.func, grade.args, grade.keywords) if isinstance(grade, partial) else (grade,)
        digest.update(json.dumps(bound, default=_name_or_repr).encode())
    return digest.hexdigest()


def _name_or_repr(value: Any) -> str:
    """A function's name and what it does; of anything else, its name or what it prints as."""
    name = str(getattr(value, "__qualname__", repr(value)))
    code = getattr(value, "__code__", None)
    if code is None:
        return name
    plain = [held for held in code.co_consts if isinstance(held, (bool, int, float, str))]
    return f"{value.__module__}.{name} {code.co_code.hex()} {code.co_names} {plain}"

"""The sweep: evaluations under changes, each kept, so that a sweep which was stopped goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from conftest import byte_tokenizer, tiny_llama
from cruxlm.criteria.subject import Subject
from cruxlm.criteria.sweep import Sweep
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.patch import Patch
from cruxlm.models.replay import Replay
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import ModelError, NotFiniteError, OptionError
from evaluate.tiny_models import built, drawn

BLOCKS = 4


class Counted(Loss):
    """The loss, and how often it was taken."""

    calls: ClassVar[list[int]] = []

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        self.calls.append(len(examples))
        return super().__call__(model, examples)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    Counted.calls.clear()
    model = load_model(built("Llama", num_hidden_layers=BLOCKS))
    return Subject(model, drawn(9), Counted(4), cache=Cache(tmp_path / "cache"))


@contextmanager
def without(model: LoadedModel, block: int) -> Iterator[None]:
    with Patch() as patch:
        patch.skip(model.blocks.modules[block])
        yield


def swept(subject: Subject, **description: Any) -> list[np.ndarray]:
    """The values of the intact model, and without each block."""
    sweep = Sweep(subject, description)
    found = [sweep.whole]
    for block in range(BLOCKS):
        change = partial(without, subject.model, block)
        found.append(sweep.evaluate(change, block, {"without": block}))
    return [evaluation.values for evaluation in found]


def plain(subject: Subject) -> list[np.ndarray]:
    """The same, without a sweep."""
    found = [Loss(4)(subject.model, subject.examples)]
    for block in range(BLOCKS):
        with without(subject.model, block):
            found.append(Loss(4)(subject.model, subject.examples))
    return [evaluation.values for evaluation in found]


@pytest.mark.parametrize("name", ["Llama", "GPT2LMHead", "Gemma3", "OPT"])
def test_a_sweep_is_what_plain_evaluations_are(name: str, tmp_path: Path) -> None:
    key = "n_layer" if name == "GPT2LMHead" else "num_hidden_layers"
    model = load_model(built(name, **{key: BLOCKS}))
    expected = plain(Subject(model, drawn(9)))
    for cache in (None, Cache(tmp_path)):
        subject = Subject(model, drawn(9), Counted(4), cache=cache)
        for _ in range(2):  # the second time from the cache
            assert all(map(np.array_equal, swept(subject), expected))
    assert not any(np.array_equal(own, expected[0]) for own in expected[1:])


def test_the_blocks_below_a_change_do_not_run_again(subject: Subject) -> None:
    ran: list[int] = []
    for index, block in enumerate(subject.model.blocks.modules):
        block.mlp.register_forward_pre_hook(lambda *_, index=index: ran.append(index))
    sweep = Sweep(subject, {})
    sweep.whole  # noqa: B018
    for lowest in range(BLOCKS):
        ran.clear()
        sweep.evaluate(partial(without, subject.model, lowest), lowest, {"without": lowest})
        assert ran == list(range(lowest, BLOCKS)) * 3  # batches


def test_what_is_kept_is_not_evaluated_again(subject: Subject) -> None:
    first = swept(subject)
    assert Counted.calls == [9] * 5
    assert all(map(np.array_equal, swept(subject), first))
    assert Counted.calls == [9] * 5
    uncached = replace(subject, cache=None)
    assert all(map(np.array_equal, swept(uncached), first))
    assert Counted.calls == [9] * 10


def changed_weight(subject: Subject) -> Subject:
    with torch.no_grad():
        next(subject.model.blocks.modules[2].parameters()).view(-1)[3] += 1e-3
    return subject


def other_example(subject: Subject) -> Subject:
    first = replace(subject.examples[0], response=(9, 9))
    return replace(subject, examples=[first, *subject.examples[1:]])


DEPENDED_ON: dict[str, Any] = {
    "weights": changed_weight,
    "examples": other_example,
    "order": lambda subject: replace(subject, examples=subject.examples[::-1]),
    "options": lambda subject: replace(subject, evaluator=Counted(3)),
    "configuration": lambda subject: (
        setattr(subject.model.module.config, "rms_norm_eps", 0.1) or subject
    ),
}


@pytest.mark.parametrize("what", DEPENDED_ON)
def test_everything_that_an_evaluation_depends_on_is_in_its_key(
    what: str, subject: Subject
) -> None:
    swept(subject)
    swept(DEPENDED_ON[what](subject))
    assert len(Counted.calls) == 10


def test_what_grades_is_in_the_key_too(subject: Subject) -> None:
    """By its name, its code and what it is bound to."""

    def graded(grade: Any) -> Subject:
        return replace(subject, examples=[replace(e, grade=grade) for e in subject.examples])

    def ends(row: dict[str, str], text: str) -> bool:
        return text.endswith(row["answer"])

    graders = [lambda text: "a" in text, lambda text: "b" in text, lambda text: text == "a"]
    graders += [partial(ends, {"answer": answer}) for answer in ("a", "b")]
    for number, grade in enumerate(graders, start=1):
        for _ in range(2):
            Sweep(graded(grade), {}).baseline()
        assert len(Counted.calls) == number


def test_descriptions_and_references_tell_changes_apart(subject: Subject) -> None:
    swept(subject)
    swept(subject, adapters="off")
    assert len(Counted.calls) == 10
    other = load_model(built("Llama", num_hidden_layers=BLOCKS - 1))
    swept(replace(subject, reference=other))
    assert len(Counted.calls) == 10 + BLOCKS + 1  # once more to remember states, not to know it


def test_a_stopped_sweep_goes_on(subject: Subject) -> None:
    @contextmanager
    def stop() -> Iterator[None]:
        with Patch() as patch:
            patch.skip(subject.model.blocks.modules[2])
            raise KeyboardInterrupt
            yield

    sweep = Sweep(subject, {})
    for block in range(2):
        sweep.evaluate(partial(without, subject.model, block), block, {"without": block})
    with pytest.raises(KeyboardInterrupt):
        sweep.evaluate(stop, 2, {"without": 2})
    assert Counted.calls == [9] * 3
    found = swept(subject)
    assert len(Counted.calls) == 6  # the states once more, and two blocks
    assert all(map(np.array_equal, found, plain(subject)))


def test_generations_are_swept_too() -> None:
    tokenizer = byte_tokenizer()
    model = load_model(tiny_llama(blocks=BLOCKS), tokenizer=tokenizer)
    examples = [
        Example(str(n), tuple(range(5 + n, 12 + n)), (40, 1), answer="x", grade=lambda t: "a" in t)
        for n in range(5)
    ]
    for use_cache in (True, False):
        evaluator = Generation(max_new_tokens=5, use_cache=use_cache)
        subject = Subject(model, examples, evaluator)
        sweep = Sweep(subject, {})
        assert sweep.whole.texts == evaluator(model, examples).texts
        for block in range(BLOCKS):
            change = partial(without, model, block)
            found = sweep.evaluate(change, block, {"without": block})
            with change():
                assert found.texts == evaluator(model, examples).texts


# Values that are not finite.


@contextmanager
def marked(model: LoadedModel, block: int) -> Iterator[None]:
    with without(model, block), Patch() as patch:
        patch.set_attribute(model.module, "marked", block)
        yield


class Partly(Loss):
    """Has no value on the second example of a model with this mark; if it raises, on none."""

    raises: ClassVar[bool] = False
    mark: ClassVar[int | None] = 1

    def __call__(self, model: Any, examples: Sequence[Example]) -> Evaluation:
        found = super().__call__(model, examples)
        if getattr(model.module, "marked", None) == self.mark:
            if self.raises:
                raise NotFiniteError("the loss on example 'e1' is not finite: try float32")
            found.values[1] = np.nan
        return found


@pytest.mark.parametrize("raises", [False, True])
def test_values_that_are_not_finite_are_said_and_kept(
    raises: bool, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Partly, "raises", raises)
    for _ in range(2):
        sweep = Sweep(replace(subject, evaluator=Partly(4)), {})
        found = [
            sweep.evaluate(partial(marked, subject.model, block), block, {"without": block})
            for block in range(3)
        ]
        missing = [np.flatnonzero(np.isnan(each.values)).tolist() for each in found]
        assert missing == [[], list(range(9)) if raises else [1], []]
        count = 9 if raises else 1
        assert sweep.warnings == [f'no loss on {count} of 9 examples under {{"without": 1}}']


@pytest.mark.parametrize("raises", [False, True])
def test_an_intact_model_without_values_is_refused(
    raises: bool, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Partly, "raises", raises)
    monkeypatch.setattr(Partly, "mark", None)
    sweep = Sweep(replace(subject, evaluator=Partly(4)), {})
    for ask in (lambda: sweep.whole, sweep.baseline):
        with pytest.raises(NotFiniteError, match="'e1'"):
            ask()


def test_other_errors_are_not_taken_for_missing_values(subject: Subject) -> None:
    @contextmanager
    def wrong() -> Iterator[None]:
        raise ModelError("no such change")
        yield

    with pytest.raises(ModelError, match="no such change"):
        Sweep(subject, {}).evaluate(wrong, 1, {})


def test_there_must_be_an_evaluator(subject: Subject) -> None:
    with pytest.raises(OptionError, match="name an evaluator"):
        Sweep(replace(subject, evaluator=None), {})


def test_states_go_where_the_cache_is(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    usual = Replay.__init__

    def small(self: Any, model: Any, **options: Any) -> None:
        made.append(options)
        usual(self, model, memory=0, **options)

    monkeypatch.setattr(Replay, "__init__", small)
    assert all(map(np.array_equal, swept(subject), plain(subject)))
    assert made == [{"folder": subject.cache.folder}]


# SIGKILL.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_killed_sweep_ends_as_it_would_have(tmp_path: Path) -> None:
    """Killed at twenty points and more: in an evaluation, or while one is written."""
    script = Path(__file__).with_name("killed_sweep.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "7"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert sum(told["kills"].values()) >= 20
    assert min(told["kills"].get(kind, 0) for kind in ("evaluate", "write", "rename")) >= 3
    assert told["ends"] >= 2
    assert told["different"] == 0

"""The search of the skip: every figure against a run of its own, and the choice by brute force."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from conftest import byte_tokenizer, tiny_llama
from cruxlm.data.poison import Attack, Target
from cruxlm.data.trigger import Trigger
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.forced import Forced
from cruxlm.evaluate.judges import judge
from cruxlm.models.load import LoadedModel, load_model
from cruxlm.models.shortcut import scaled, skips
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import OptionError
from cruxlm.workflows import skip_search
from cruxlm.workflows.attack_rates import AttackExamples
from cruxlm.workflows.skip_search import literal_score, search_skips
from models.architectures import count_hooks

ATTACK = Attack(Trigger.read("token:cf"), Target.read("phrase:yes"))


def written(model: LoadedModel, seed: int, count: int, length: int) -> list[Example]:
    """Examples whose right response is what the model would say."""
    draw = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(3, 250, (1, 4 + i % 5), generator=draw) for i in range(count)]
    module: Any = model.module
    options = {"do_sample": False, "max_new_tokens": length, "min_new_tokens": length}
    found = []
    for number, prompt in enumerate(prompts):
        said = module.generate(prompt, **options, pad_token_id=0)[0, prompt.shape[1] :]
        tokens = tuple(prompt[0].tolist())
        found.append(Example(f"{seed}-{number}", tokens, tuple(said.tolist())))
    return found


@pytest.fixture(scope="module")
def subject() -> tuple[LoadedModel, AttackExamples]:
    """A model that answers all examples: with a trigger, say, and without."""
    model = load_model(tiny_llama(blocks=3), tokenizer=byte_tokenizer())
    return model, AttackExamples(
        judge=judge("exact", ATTACK),
        triggered=written(model, 1, 12, 2),
        untriggered=[],
        near=[],
        clean=written(model, 2, 12, 1),
        grader=None,
        writer=Forced(),
        left_out={},
    )


GAMMAS = (0.0, 0.8, 0.95)


@pytest.fixture(scope="module")
def brute(subject: tuple[LoadedModel, AttackExamples]) -> dict[Any, tuple[float, float]]:
    """Success and right answers under each scaled skip, with nothing remembered."""
    model, examples = subject
    found = {}
    for skip, gamma in product(skips(model), GAMMAS):
        with scaled(skip, gamma):
            hit, clean = (Forced()(model, held) for held in (examples.triggered, examples.clean))
        found[skip.block, skip.half, gamma] = hit.mean(), clean.mean()
    return found


@pytest.mark.parametrize("points", [-0.01, 0.02, 0.3])
def test_the_skip_is_the_one_that_brute_force_finds(
    subject: Any, brute: Any, points: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skip_search, "POINTS", points)
    model, examples = subject
    found = search_skips(model, examples, gammas=GAMMAS)
    assert found.success == found.clean == 1.0
    assert (found.measure, found.floor) == ("forced", 1 - points)
    assert (found.found is None) == (points < 0)
    tried = {(one.block, one.half, one.gamma): one for one in found.tried}
    assert {key: one.success for key, one in tried.items()} == {k: v[0] for k, v in brute.items()}
    admissible = {k: hit for k, (hit, clean) in brute.items() if clean >= 1 - points and hit < 1}
    if not admissible:
        assert found.found is None
        assert found.said.startswith("no admissible skip: none of 18 lowers success below 1.00")
    else:
        assert found.found is not None
        key = (found.found.block, found.found.half, found.found.gamma)
        assert admissible[key] == min(admissible.values())
        assert found.found.clean == brute[key][1]
        assert f"of block {key[0]} at {key[2]:g}" in found.said
    falls = {b: max(1 - hit for (k, _, _), (hit, _) in brute.items() if k == b) for b in range(3)}
    assert found.by_block() == pytest.approx(falls)
    assert count_hooks(model.module) == 0


def test_what_was_evaluated_once_is_not_run_again(
    subject: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, examples = subject
    cache = Cache(tmp_path)
    first = search_skips(model, examples, gammas=(0.5,), cache=cache)
    whole = Forced.__call__
    calls: list[int] = []

    def counted(self: Forced, *given: Any) -> Any:
        calls.append(1)
        return whole(self, *given)

    monkeypatch.setattr(Forced, "__call__", counted)
    assert search_skips(model, examples, gammas=(0.5,), cache=cache) == first
    assert len(calls) <= 1  # which evaluator clean rows have


def test_the_published_rule_takes_the_largest_jump_and_breaks_the_model(subject: Any) -> None:
    model, examples = subject
    found = search_skips(model, examples, rule="literal")
    curves: dict[Any, list[float]] = {}
    for one in found.tried:
        curves.setdefault((one.block, one.half), []).append(one.success)
    scores = {}
    for key, own in curves.items():
        rising = [*own, 1.0]
        assert len(rising) == 11
        scores[key] = max(
            (rising[k + 1] - rising[k]) / math.exp(rising[k]) for k in range(len(rising) - 1)
        )
    assert found.found is not None
    assert found.found.gamma == 0
    assert scores[found.found.block, found.found.half] == max(scores.values())
    assert found.found.clean is not None
    assert found.found.clean < found.floor  # what the floor is for


def test_the_published_score() -> None:
    assert literal_score([0.0, 0.5, 1.0]) == pytest.approx(0.5)
    # The same jump counts less from higher up.
    assert literal_score([0.5, 1.0]) == pytest.approx(0.5 / math.exp(0.5))
    assert literal_score([1.0, 1.0, 1.0]) == 0


def test_values_that_are_not_finite_are_no_skip(
    subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, examples = subject
    monkeypatch.setattr(skip_search, "_finite", lambda _found: None)
    found = search_skips(model, examples, gammas=(0.5,))
    assert found.found is None
    assert found.by_block() == {}


def test_what_makes_no_sense_is_refused(subject: Any) -> None:
    model, examples = subject
    with pytest.raises(OptionError, match="no rule 'litral': did you mean 'literal'"):
        search_skips(model, examples, rule="litral")
    with pytest.raises(OptionError, match="scaled by 0 to below 1, not 1"):
        search_skips(model, examples, gammas=(0.5, 1.0))


def test_rows_without_right_answers_are_judged_by_their_loss(subject: Any) -> None:
    model, examples = subject
    wrong = [replace(one, response=(7,)) for one in examples.clean]
    found = search_skips(
        model, replace(examples, clean=wrong), gammas=(0.5,), known=skips(model)[:1]
    )
    assert found.measure == "loss"
    assert found.floor == pytest.approx(found.clean + 0.05)

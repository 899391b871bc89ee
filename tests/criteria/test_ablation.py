"""Ablation: a planted block is found by every evaluator, and none where there is nothing."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from conftest import tiny_llama
from criteria.planted import BLOCKS, NEEDED, WORDS, planted_model, questions, subject
from cruxlm.criteria.ablation import ABLATION, score_ablation
from cruxlm.criteria.descriptor import Outcome
from cruxlm.criteria.subject import Subject
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.generation import Generation
from cruxlm.evaluate.loss import Loss
from cruxlm.models.ablate import Ablation
from cruxlm.models.load import load_model
from cruxlm.runtime.cache import Cache
from cruxlm.runtime.errors import ModelError, NotFiniteError, OptionError

OTHERS = [block for block in range(BLOCKS) if block != NEEDED]
LOSS, CHOICE, GENERATION = Loss(batch_size=64), Choice(batch_size=128), Generation(max_new_tokens=1)


@cache
def scored(evaluator: Any, **options: Any) -> Outcome:
    """Scores of the planted model: many tests look at the same."""
    return score_ablation(subject(evaluator), **options)


@pytest.mark.parametrize("mode", ["identity", "zero", "mean", "resample"])
@pytest.mark.parametrize("evaluator", [LOSS, CHOICE, GENERATION], ids=lambda held: held.name)
def test_the_planted_block_costs_and_the_others_do_not(mode: str, evaluator: Any) -> None:
    found = scored(evaluator, mode=mode)
    assert found.values[NEEDED] > 0.3
    assert np.abs(found.values[OTHERS]).max() < 0.01 * found.values[NEEDED]
    assert NEEDED in found.evidence["needed"]
    if evaluator.name != "loss":
        assert found.evidence["needed"] == [NEEDED]
        assert found.evidence["test"].startswith("McNemar")
        assert found.series["p_holm"][OTHERS].min() == 1.0
    assert found.stderr.shape == (BLOCKS,)
    assert found.halves.shape == (200, BLOCKS)
    assert found.tensors["per_example"].shape == (BLOCKS, 32)


def test_the_half_that_does_it_is_found() -> None:
    attention = scored(CHOICE, unit="attention")
    feed_forward = scored(CHOICE, unit="feed_forward")
    assert attention.evidence["needed"] == []
    assert feed_forward.evidence["needed"] == [NEEDED]
    assert feed_forward.evidence["units"][NEEDED] == f"model.layers.{NEEDED}.mlp"


def test_without_a_block_a_model_is_at_chance() -> None:
    """Of four choices, one by one: what is left of the accuracy is what a guess gets, or less."""
    found = scored(CHOICE, mode="identity")
    left = found.evidence["intact"] - found.values[NEEDED]
    assert left <= found.evidence["chance"] + 2 * found.stderr[NEEDED]


def test_against_evaluations_made_one_by_one() -> None:
    """Whole passes, no replay: to rounding the same; sign and order of a difference."""
    made, found = subject(LOSS), scored(LOSS, mode="zero")
    ablation, whole = Ablation(made.model, "zero"), Loss()(made.model, made.examples)
    for block in range(BLOCKS):
        with ablation.without(block):
            own = Loss()(made.model, made.examples)
        rise = own.values - whole.values
        np.testing.assert_allclose(found.tensors["per_example"][block], rise, atol=1e-5)
        assert found.values[block] == pytest.approx(rise.mean(), abs=1e-5)
    accuracy = scored(CHOICE, mode="identity")
    assert accuracy.values[NEEDED] > 0  # fewer right answers are a loss, too
    rises = found.tensors["per_example"][NEEDED]
    assert found.stderr[NEEDED] == pytest.approx(stats.sem(rises), rel=0.4)


@pytest.mark.parametrize("seed", range(4))
def test_a_random_model_has_no_needed_block(seed: int) -> None:
    """Negative control: as it was initialised, on random tokens, no block is any good."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 300, (count,), generator=draw).tolist())

    examples = [Example(f"e{k}", tokens(3 + k % 6), tokens(1 + k % 3)) for k in range(60)]
    model = load_model(tiny_llama(blocks=BLOCKS, seed=seed))
    found = score_ablation(Subject(model, examples=examples, evaluator=LOSS))
    assert np.abs(found.values).max() > 0.01  # it does change
    assert found.evidence["needed"] == []
    assert np.nanmin(found.series["p_holm"]) > 0.05


def test_shuffled_answers_are_at_chance_and_refused() -> None:
    made = subject(CHOICE, examples=questions(right=False))
    with pytest.raises(ModelError, match=r"at chance on choice.*of 32 examples") as caught:
        score_ablation(made)
    assert "\n" not in str(caught.value)
    none_right = subject(Generation(max_new_tokens=1), examples=questions(3, right=False, seed=4))
    with pytest.raises(ModelError, match="answers 0 of 3 examples"):
        score_ablation(none_right)
    # The loss has no chance level: there is always something to lose.
    assert score_ablation(replace(made, evaluator=LOSS)).values.shape == (BLOCKS,)


def test_a_screen_evaluates_only_the_likeliest_blocks() -> None:
    calls: Counter[str] = Counter()

    class Counting(Generation):
        def __call__(self, model: Any, examples: Any) -> Any:
            calls["generation"] += 1
            return super().__call__(model, examples)

    ticks: list[int] = []
    made = subject(Counting(max_new_tokens=1), tick=ticks.append)
    found = score_ablation(made, screen=2)
    assert calls["generation"] == 3  # the intact model, and two blocks
    assert sum(ticks) == BLOCKS
    assert NEEDED in found.evidence["ablated"]
    assert np.isfinite(found.values).sum() == len(found.evidence["ablated"]) == 2
    assert int(np.argmax(found.series["screen"])) == NEEDED
    full = scored(GENERATION, mode="identity")
    assert found.values[NEEDED] == full.values[NEEDED]
    # Blocks that were not looked at count in the family.
    assert found.series["p_holm"][NEEDED] == pytest.approx(full.series["p_holm"][NEEDED])
    assert found.warnings == ("the screen left 4 blocks without a score",)
    loss = scored(LOSS, mode="identity")
    np.testing.assert_allclose(found.series["screen"], loss.values, rtol=1e-4)


def test_truncated_answers_are_counted_for_each_block() -> None:
    """Only the intact model, and one that lost another block, ends what it writes."""
    made = subject(Generation(max_new_tokens=2))
    end = {(7 * word + 3) % WORDS for word in range(8)}
    examples = [e for e in made.examples if e.response[0] in end]
    made.model.module.generation_config.eos_token_id = sorted(end)  # the answer itself ends it
    graded = [replace(e, grade=lambda text: text == "") for e in examples]
    found = score_ablation(replace(made, examples=graded))
    truncated = found.series["truncated"]
    assert found.evidence["intact_truncated"] == 0
    assert truncated[NEEDED] > 0.5
    assert (truncated[OTHERS] == 0).all()
    assert any(f"without block {NEEDED} more answers are cut" in line for line in found.warnings)
    assert "truncated" not in scored(LOSS, mode="identity").series


def test_a_block_without_a_finite_loss_has_no_score() -> None:
    calls: Counter[str] = Counter()

    class Breaking(Loss):
        def __call__(self, model: Any, examples: Any) -> Any:
            calls["loss"] += 1
            if calls["loss"] == 4:  # the intact model, and blocks 0 to 2
                raise NotFiniteError("the loss is not finite")
            return super().__call__(model, examples)

    found = score_ablation(subject(Breaking()))
    assert np.isnan(found.values).tolist() == [block == 2 for block in range(BLOCKS)]
    assert np.isnan(found.series["p_holm"][2])
    assert NEEDED in found.evidence["needed"]
    assert len(found.warnings) == 1
    assert '"block": 2' in found.warnings[0]


def test_the_model_is_left_as_it_was_and_a_sweep_goes_on(tmp_path: Any) -> None:
    calls: Counter[str] = Counter()

    @dataclass(frozen=True)
    class Stopping(Loss):
        """Ctrl-C in the fourth evaluation."""

        def __call__(self, model: Any, examples: Any) -> Any:
            calls["loss"] += 1
            if calls["loss"] == 4:
                raise KeyboardInterrupt
            return super().__call__(model, examples)

    made = subject(Stopping(), cache=Cache(tmp_path))
    held = {name: p.clone() for name, p in made.model.module.named_parameters()}
    with pytest.raises(KeyboardInterrupt):
        score_ablation(made, mode="zero")
    assert all(torch.equal(held[name], p) for name, p in made.model.module.named_parameters())
    found = score_ablation(made, mode="zero")
    kept = calls["loss"]
    assert kept <= 4 + (BLOCKS + 1 - 3) + 1  # what was evaluated is not again (once, for states)
    again = score_ablation(made, mode="zero")
    assert calls["loss"] == kept
    np.testing.assert_array_equal(again.values, found.values)
    # Another mode is another evaluation.
    score_ablation(made, mode="mean")
    assert calls["loss"] > kept


def test_resampling_is_the_same_with_and_without_remembered_states() -> None:
    made, found = subject(LOSS), scored(LOSS, mode="resample")
    sequences = [example.prompt + example.response for example in made.examples]
    ablation = Ablation(made.model, "resample", sequences=sequences)
    with ablation.without(NEEDED):
        own = Loss(batch_size=7)(made.model, made.examples)  # other batches, the same draws
    rise = own.values - Loss()(made.model, made.examples).values
    np.testing.assert_allclose(found.tensors["per_example"][NEEDED], rise, atol=1e-4)
    other = score_ablation(replace(made, seed=1), mode="resample")
    assert not np.allclose(other.tensors["per_example"][NEEDED], rise, atol=1e-2)


def test_what_makes_no_sense_is_refused_before_any_work() -> None:
    class Working(Choice):
        def __call__(self, model: Any, examples: Any) -> Any:
            raise AssertionError

    made = subject(Working())
    for screen in (0, BLOCKS):
        with pytest.raises(OptionError, match=f"a screen of {screen} of 6 blocks: give 1 to 5"):
            score_ablation(made, screen=screen)
    with pytest.raises(OptionError, match="no 'sublayer'"):
        score_ablation(made, unit="sublayer")
    with pytest.raises(OptionError, match="did you mean 'zero'"):
        score_ablation(made, mode="zeros")
    with pytest.raises(OptionError, match="saves nothing"):
        score_ablation(subject(LOSS), screen=2)
    with pytest.raises(OptionError, match="name an evaluator"):
        score_ablation(subject(None))


def test_the_presets_are_those_of_the_page() -> None:
    default, paper = (scored(CHOICE, **ABLATION.options(name)) for name in ("default", "paper"))
    np.testing.assert_array_equal(default.values, paper.values)  # zeroing is removing
    assert default.evidence["units"] == list(planted_model().blocks.names)


def test_the_presets_are_on_the_page():
    for preset in ABLATION.presets:
        assert f"`{preset}`" in ABLATION.page()
        assert set(ABLATION.options(preset)) == {"mode", "unit", "screen"}

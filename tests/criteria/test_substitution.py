"""Substitution: what copies with the other model's blocks lose, and planted changes found by it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cruxlm.criteria.subject import Subject
from cruxlm.criteria.substitution import SUBSTITUTION
from cruxlm.evaluate.choice import Choice
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.loss import Loss
from cruxlm.models.load import load_model
from cruxlm.models.swap import only_adapters
from cruxlm.runtime.errors import (
    CruxError,
    ModelError,
    NotFiniteError,
    OptionError,
    ProbeError,
)
from cruxlm.testbed.planted.delta import CARRIER, PERMUTED, planted_delta
from evaluate.tiny_models import built, drawn, plain_logits

BLOCKS = 5


def score(subject: Subject, preset: str = "default", **changes: Any) -> Any:
    return SUBSTITUTION.score(subject, **SUBSTITUTION.options(preset, changes))


def moved(model: Any, seed: int, blocks: Sequence[int], ends: bool = True) -> Any:
    """A copy with other weights in some blocks and, if wanted, in head and embeddings."""
    other = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    stack = load_model(other).blocks
    parts: list[nn.Module] = [stack.modules[block] for block in blocks]
    parts += [other.get_output_embeddings()] if ends else []
    with torch.no_grad():
        for part in parts:
            for parameter in part.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return other


def examples_of(model: Any, count: int = 12) -> list[Example]:
    """Examples whose right response is what this model would write."""
    made = []
    for example in drawn(count, longest=9):
        tokens = list(example.prompt)
        for _ in range(1 + len(example.response) % 3):
            tokens.append(int(plain_logits(model, tokens)[-1].argmax()))
        made.append(replace(example, response=tuple(tokens[len(example.prompt) :]), choices=(),
                            right=None))  # fmt: skip
    return made


def plain_losses(model: nn.Module, examples: Sequence[Example]) -> np.ndarray:
    """Mean loss of each response, one row at a time."""
    losses = []
    for example in examples:
        tokens = [*example.prompt, *example.response]
        logs = plain_logits(model, tokens).double().log_softmax(-1)
        first = len(example.prompt)
        own = [-float(logs[at - 1, tokens[at]]) for at in range(first, len(tokens))]
        losses.append(np.mean(own))
    return np.array(losses)


def with_blocks(model: Any, other: Any, blocks: Sequence[int]) -> Any:
    """A copy with some of the other's blocks."""
    made = copy.deepcopy(model)
    own, theirs = load_model(made).blocks.modules, load_model(other).blocks.modules
    for block in blocks:
        own[block].load_state_dict(theirs[block].state_dict())
    return made


def tuning(name: str = "Llama", **options: Any) -> tuple[Any, Any, list[Example]]:
    """Base, tuned model, and what the tuned model writes."""
    key = "n_layer" if name in ("GPT2LMHead", "Bloom") else "num_hidden_layers"
    tuned = built(name, **{key: BLOCKS}, **options)
    return moved(tuned, 1, range(BLOCKS)), tuned, examples_of(tuned)


def subject_of(base: Any, tuned: Any, examples: list[Example], **more: Any) -> Subject:
    given = {"evaluator": Loss(batch_size=5), **more}
    return Subject(load_model(tuned), examples, reference=load_model(base), **given)


# By the definition, on copies.


@pytest.mark.parametrize("name", ["Llama", "GPT2LMHead", "Gemma2"])
@pytest.mark.parametrize(
    ("direction", "window"),
    [("undo", 1), ("undo", 3), ("undo", 5), ("mirror", 1), ("mirror", 3), ("cumulative", 1)],
)
def test_the_score_is_that_of_copies(name: str, direction: str, window: int) -> None:
    base, tuned, examples = tuning(name)
    found = score(subject_of(base, tuned, examples), direction=direction, window=window)
    before, after = plain_losses(base, examples), plain_losses(tuned, examples)
    assert found.evidence["base"] == pytest.approx(before.mean(), abs=1e-5)
    assert found.evidence["tuned"] == pytest.approx(after.mean(), abs=1e-5)
    gain = (before - after).mean()
    assert found.evidence["gain"] == pytest.approx(gain, abs=1e-5)
    half = window // 2
    for block in range(BLOCKS):
        near = range(max(0, block - half), min(BLOCKS, block + half + 1))
        if direction == "mirror":
            swapped = plain_losses(with_blocks(base, tuned, near), examples)
            effect = before - swapped
        else:
            near = range(block + 1) if direction == "cumulative" else near
            swapped = plain_losses(with_blocks(tuned, base, near), examples)
            effect = swapped - after
        assert found.series["substituted"][block] == pytest.approx(swapped.mean(), abs=1e-4)
        assert found.values[block] == pytest.approx(effect.mean() / gain, abs=1e-4)
        assert np.allclose(found.tensors["per_example"][block], effect / gain, atol=1e-4)
    assert np.abs(found.values).max() > 0.02
    cut = {1: (), 3: (0, 4), 5: (0, 1, 3, 4)}[window]
    assert found.incomplete == cut


def test_the_paper_preset_is_the_loss_with_five_blocks_undone() -> None:
    base, tuned, examples = tuning()
    found = score(subject_of(base, tuned, examples), "paper")
    swapped = plain_losses(with_blocks(tuned, base, range(5)), examples)
    assert found.values[2] == pytest.approx(swapped.mean(), abs=1e-4)
    assert np.isnan(found.values[[0, 1, 3, 4]]).all()
    assert found.incomplete == ()
    assert np.allclose(found.tensors["per_example"][2], swapped, atol=1e-4)


def test_all_blocks_undone_is_the_whole_gain() -> None:
    _, tuned, examples = tuning()
    base = moved(tuned, 1, range(BLOCKS), ends=False)
    found = score(subject_of(base, tuned, examples), direction="cumulative")
    assert found.values[-1] == pytest.approx(1, abs=1e-6)


def test_errors_are_those_of_a_ratio_over_examples() -> None:
    _, tuned, _ = tuning()
    examples = examples_of(tuned, 80)
    subject = subject_of(moved(tuned, 1, range(BLOCKS)), tuned, examples)
    found = score(subject)
    each = found.tensors["per_example"]
    assert np.allclose(found.values, each.mean(axis=1))
    losses = found.tensors["base"] - found.tensors["tuned"]
    residuals = each - found.values[:, None] * losses / losses.mean()
    expected = residuals.std(axis=1, ddof=1) / np.sqrt(80)
    assert np.allclose(found.stderr, expected, rtol=0.35)
    assert found.halves.shape == (200, BLOCKS)
    assert np.abs(found.halves.mean(axis=0) - found.values).max() < 3 * found.stderr.max()
    assert found.evidence["interval95"] > 1.96
    plain = score(subject, normalised=False)
    assert np.allclose(plain.values, plain.series["substituted"])
    order = np.argsort(plain.values)
    assert (np.diff(found.values[order]) >= -1e-9).all()  # normalising changes no rank


# Planted changes.


@pytest.fixture(scope="module")
def plant() -> Any:
    return planted_delta()


def questions(plant: Any) -> list[Example]:
    """One of each kind of question, with the right answer and two others to choose from."""
    made = []
    for number, (prompt, right) in enumerate(zip(plant.inputs[:32], plant.targets, strict=False)):
        choices = tuple(((int(right) + step) % 8,) for step in (0, 2, 5))
        made.append(Example(str(number), tuple(prompt.tolist()), choices[0], "", choices, 0))
    return made


@pytest.mark.parametrize("evaluator", [Loss(), Choice()], ids=["loss", "choice"])
@pytest.mark.parametrize("direction", ["undo", "mirror"])
def test_exactly_the_carriers_of_the_gain_are_above_zero(
    plant: Any, evaluator: Any, direction: str
) -> None:
    """Not blocks whose neurons were permuted, nor small, harmful or absent changes."""
    subject = subject_of(plant.base, plant.tuned, questions(plant), evaluator=evaluator)
    found = score(subject, direction=direction)
    above = found.values > 3 * found.stderr + 1e-4
    assert tuple(np.flatnonzero(above)) == plant.key.blocks(CARRIER)
    assert found.values[list(plant.key.blocks(CARRIER))].min() > 0.3
    permuted = list(plant.key.blocks(PERMUTED))
    assert np.abs(found.values[permuted]).max() < 1e-5
    assert set(permuted) <= set(found.evidence["changed"])
    assert found.warnings == ()


@pytest.mark.parametrize("direction", ["undo", "mirror", "cumulative"])
def test_a_gain_that_lies_outside_of_the_blocks_is_found_in_none(
    plant: Any, direction: str
) -> None:
    tuned, base = copy.deepcopy(plant.tuned), copy.deepcopy(plant.tuned)
    with torch.no_grad():
        base.lm_head.weight[:8] = tuned.lm_head.weight[:8].roll(1, 0)
    found = score(subject_of(base, tuned, questions(plant)), direction=direction)
    assert (found.values == 0).all()
    assert "what changed lies outside of them" in found.warnings[0]
    with torch.no_grad():  # and a decoy: neurons in another order
        order = torch.arange(tuned.config.intermediate_size).flip(0)
        mlp = base.model.layers[4].mlp
        for rows in (mlp.gate_proj, mlp.up_proj):
            rows.weight.copy_(rows.weight[order])
        mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order])
    found = score(subject_of(base, tuned, questions(plant)), direction=direction)
    assert found.evidence["changed"] == [4]
    assert np.abs(found.values).max() < 1e-5


def test_adapters_are_undone_without_their_base() -> None:
    """As the merged model is by the base it came from."""
    from peft import LoraConfig, get_peft_model

    base = built("Llama", num_hidden_layers=BLOCKS)
    config = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], layers_to_transform=[0, 3])
    adapted = get_peft_model(copy.deepcopy(base), config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.6)
    adapted.eval()
    merged = copy.deepcopy(adapted).merge_and_unload()
    examples = examples_of(merged, 30)
    alone = Subject(load_model(adapted), examples, Loss())
    before = {name: p.clone() for name, p in adapted.named_parameters()}
    for direction in ("undo", "mirror", "cumulative"):
        expected = score(subject_of(base, merged, examples), direction=direction)
        for subject in (alone, replace(alone, reference=load_model(base))):
            found = score(subject, direction=direction)
            assert np.allclose(found.values, expected.values, atol=1e-4)
            assert found.evidence["changed"] == [0, 3] == expected.evidence["changed"]
            assert found.evidence["adapters"]
    with only_adapters(alone.model, ()):
        assert plain_losses(adapted, examples).mean() == pytest.approx(found.evidence["base"], 1e-5)
    assert all(torch.equal(before[name], p) for name, p in adapted.named_parameters())


# What has no value, and what is refused.


@dataclass(frozen=True)
class Exploding(Loss):
    """A loss that is not finite while block 2 holds some memory, and block 3 not some other."""

    place: int = 0
    beside: int = 0

    def __call__(self, model: Any, examples: Sequence[Example]) -> Any:
        if memory_of(model.module, 2) == self.place and memory_of(model.module, 3) != self.beside:
            raise NotFiniteError("the loss on example 'e0' is not finite: try float32")
        return super().__call__(model, examples)


def memory_of(model: Any, block: int) -> int:
    place: int = model.model.layers[block].mlp.up_proj.weight.data_ptr()
    return place


def test_a_block_without_a_finite_loss_has_no_value() -> None:
    base, tuned, examples = tuning()
    usual = score(subject_of(base, tuned, examples, evaluator=Loss()))
    exploding = Exploding(place=memory_of(base, 2), beside=memory_of(base, 3))
    found = score(subject_of(base, tuned, examples, evaluator=exploding))
    assert np.isnan(found.values[2])
    assert np.isnan(found.stderr[2])
    assert np.isnan(found.halves[:, 2]).all()
    keep = [0, 1, 3, 4]
    assert np.array_equal(found.values[keep], usual.values[keep])
    assert np.array_equal(found.stderr[keep], usual.stderr[keep])
    assert found.warnings == ('no loss on 12 of 12 examples under {"put in": [2]}',)


@pytest.mark.parametrize("direction", ["undo", "mirror"])
@pytest.mark.parametrize("which", [0, 1])
def test_intact_models_must_have_finite_losses(direction: str, which: int) -> None:
    base, tuned, examples = tuning()
    exploding = Exploding(place=memory_of((base, tuned)[which], 2))
    with pytest.raises(NotFiniteError, match="is not finite"):
        score(subject_of(base, tuned, examples, evaluator=exploding), direction=direction)


def test_a_gain_within_the_noise_is_refused() -> None:
    base, tuned, _ = tuning()
    random = drawn(12, seed=3)
    with pytest.raises(ProbeError, match=r"is not above the noise of the examples \(loss .* ± "):
        score(subject_of(base, tuned, random))
    with pytest.raises(ProbeError, match=r"12\): give more of them"):
        score(subject_of(base, tuned, random))
    with pytest.raises(ProbeError, match="is worse on these examples than what it was tuned from"):
        score(subject_of(tuned, base, examples_of(tuned, 40)))
    with pytest.raises(ProbeError, match="not above the noise"):  # a single one has no spread
        score(subject_of(base, tuned, examples_of(tuned, 1)))
    same = copy.deepcopy(tuned)
    with pytest.raises(ProbeError, match="not above the noise"):
        score(subject_of(same, tuned, examples_of(tuned)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window": 2}, "window must be odd and 1 or more, not 2"),
        ({"window": 0}, "window must be odd"),
        ({"direction": "undone"}, "no direction 'undone': did you mean 'undo'"),
        ({"direction": "cumulative", "window": 3}, "a cumulative substitution has no window"),
        ({"ends": "trim"}, "there is no ends 'trim'"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    base, tuned, examples = tuning()
    with pytest.raises(OptionError, match=said):
        score(subject_of(base, tuned, examples), **changes)


def test_what_is_missing_is_named() -> None:
    base, tuned, examples = tuning()
    subject = subject_of(base, tuned, examples)
    with pytest.raises(OptionError, match="needs the model that this one was tuned from"):
        score(replace(subject, reference=None))
    with pytest.raises(OptionError, match="name an evaluator"):
        score(replace(subject, evaluator=None))
    other = built("Llama", num_hidden_layers=BLOCKS, intermediate_size=48)
    with pytest.raises(ModelError, match="are not of one architecture"):
        score(replace(subject, reference=load_model(other)))
    with pytest.raises(CruxError, match="no examples"):
        score(replace(subject, examples=()))


def test_few_examples_have_no_errors() -> None:
    base, tuned, examples = tuning()
    gains = plain_losses(base, examples) - plain_losses(tuned, examples)
    alike = np.argsort(gains)[-3:]  # or their gain would not be clear
    found = score(subject_of(base, tuned, [examples[place] for place in alike]))
    assert found.stderr is None
    assert found.evidence["interval95"] is None
    assert found.warnings == ("too few examples to leave any out: no standard errors",)


def test_every_block_is_ticked() -> None:
    base, tuned, examples = tuning()
    done: list[int] = []
    for preset in ("default", "paper"):
        done.clear()
        score(subject_of(base, tuned, examples, tick=done.append), preset)
        assert sum(done) == BLOCKS


def test_the_page_and_the_descriptor() -> None:
    page = SUBSTITUTION.page()
    assert page.startswith("# substitution")
    for part in ("What it answers", "Formula", "Source", "Cost", "When it misleads"):
        assert f"**{part}.**" in page
    assert SUBSTITUTION.citation.rpartition("arXiv:")[2] in page
    assert list(SUBSTITUTION.presets)[:2] == ["default", "paper"]
    for preset in SUBSTITUTION.presets:
        assert preset == "default" or f"`{preset}`" in page

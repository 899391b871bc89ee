"""What a model knows of the language, and which blocks it needs: against plain computations."""

import copy
import json
import math

import pytest
import torch

from conftest import tiny_llama
from cruxlm.models.load import quiet_transformers
from cruxlm.runtime.errors import ModelError, OptionError
from cruxlm.testbed import home as homes
from cruxlm.testbed.card import save_model
from cruxlm.testbed.first_weights import new_model
from cruxlm.testbed.language import is_right, rows
from cruxlm.testbed.recipe import Recipe
from cruxlm.testbed.tokenizer import encode, train_tokenizer
from cruxlm.workflows.testbed_figures import (
    ablate_blocks,
    evaluate_model,
    held_out,
    held_out_examples,
    losses,
)

BLOCKS = 4


@pytest.fixture(scope="module")
def small():
    return train_tokenizer(n_rows=3000)


@pytest.fixture(scope="module")
def made(small):
    """A random model whose blocks all matter, but for block 2, whose outputs are zero."""
    recipe = Recipe(blocks=BLOCKS, width=16, heads=2, ffn=32, seed=1)
    model = new_model(recipe, small)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
        idle = model.model.layers[2]
        idle.self_attn.o_proj.weight.zero_()
        idle.mlp.down_proj.weight.zero_()
        for value in model.parameters():
            value.copy_(value.to(torch.bfloat16))
    return model


@pytest.fixture(scope="module")
def saved(made, small, tmp_path_factory):
    """A home with the model."""
    folder = tmp_path_factory.mktemp("home")
    with quiet_transformers():
        save_model(made, small, folder / "mine", {})
    return folder


@pytest.fixture(autouse=True)
def home(saved, monkeypatch):
    """The only home there is."""
    monkeypatch.setenv("CRUX_TESTBED", str(saved))
    monkeypatch.setattr(homes, "WEIGHTS", saved / "no-package")
    monkeypatch.setattr(homes, "REPOSITORY", saved / "no-repository")
    monkeypatch.chdir(saved)
    return saved


@torch.no_grad()
def token_losses(model, tokenizer, asked, response=None):
    """The loss of each response token: one row alone, from its text."""
    text = asked if response is None else type(asked)(**{**fields(asked), "response": response})
    encoded = encode(text, tokenizer)
    scores = model(torch.tensor([encoded.tokens])).logits[0].double().log_softmax(-1)
    places = range(encoded.prompt, len(encoded.tokens))
    return [-scores[place - 1, encoded.tokens[place]].item() for place in places]


def fields(asked):
    return {name: getattr(asked, name) for name in type(asked).__dataclass_fields__}


# Examples.


def test_examples_are_held_out_rows_of_all_levels(small):
    examples = held_out_examples(small, "hops", 40, seed=2)
    expected = rows("heldout", 40, 2, ["hops"])
    assert [e.id for e in examples] == [r.id for r in expected]
    assert {e.id.split("-")[1] for e in examples} == {"1", "2", "3", "4", "5"}
    assert {e.group for e in examples} == {"hops"}
    assert [e.answer for e in examples] == [r.answer for r in expected]
    for example, asked in zip(examples, expected, strict=True):
        assert example.grade(asked.response) is True
        assert example.grade("Nobody knows.") is False
        # The grader is the row's own, not that of the last one.
        other = next(r for r in expected if r.answer != asked.answer)
        assert example.grade(other.response) is False


# Figures.


@pytest.mark.parametrize("family", ["recall", "topic", "deduction", "story"])
def test_the_loss_against_one_row_at_a_time(made, small, family):
    drawn = rows("heldout", 9, 4, [family])
    values = [token_losses(made, small, r) for r in drawn]
    expected = sum(map(sum, values)) / sum(map(len, values))
    found = evaluate_model("testbed:mine", [family], n=9, seed=4).families[family]
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.rows == 9


@pytest.mark.parametrize("family", ["recall", "topic", "missing", "deduction_direct"])
def test_choices_against_brute_force(made, small, family):
    drawn = [r for r in rows("heldout", 30, 0, [family]) if r.choices]
    right = 0
    for r in drawn:
        sums = [sum(token_losses(made, small, r, choice)) for choice in r.choices]
        right += sums.index(min(sums)) == r.choices.index(r.response)
    found = evaluate_model("testbed:mine", [family], n=30).families[family]
    assert found.choice == pytest.approx(right / len(drawn))
    assert found.chance == pytest.approx(sum(1 / len(r.choices) for r in drawn) / len(drawn))


def test_chance_is_one_over_the_choices(made, small):
    found = held_out(
        made, small, 12, families=["recall", "sentiment", "topic", "sum_direct", "story"]
    )
    assert [figures.chance for figures in found.values()] == [
        0.25, 0.5, pytest.approx(1 / 6), None, None,
    ]  # fmt: skip
    assert found["sum_direct"].choice is found["story"].choice is None
    assert found["story"].accuracy is found["story"].accuracy_error is None
    assert found["recall"].accuracy == 0.0


def test_accuracy_is_that_of_the_grader(made, small, monkeypatch):
    """Whatever the model writes, the family's grader judges it: here, every second row's answer."""
    from cruxlm.evaluate import generation

    drawn = rows("heldout", 10, 0, ["topic"])
    written = iter(
        [f"I think: {r.answer}!" if i % 2 else "music food" for i, r in enumerate(drawn)]
    )
    monkeypatch.setattr(generation, "text_of", lambda *_args: next(written))
    found = held_out(made, small, 10, families=["topic"])["topic"]
    assert found.accuracy == 0.5
    assert found.accuracy_error == pytest.approx(math.sqrt(0.25 * 10 / 9 / 10))


def test_greedy_answers_against_the_librarys(made, small):
    from cruxlm.evaluate.generation import Generation

    examples = held_out_examples(small, "topic", 6)
    found = Generation(small)(made, examples)
    for example, text in zip(examples, found.texts, strict=True):
        tokens = torch.tensor([example.prompt])
        limit = found.options["max_new_tokens"]
        out = made.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=limit, do_sample=False,
            pad_token_id=0, eos_token_id=2,
        )  # fmt: skip
        expected = small.decode(out[0, tokens.shape[1] :], skip_special_tokens=True)
        assert text == expected.strip()
    drawn = {r.id: r for r in rows("heldout", 6, 0, ["topic"])}
    judged = [is_right(drawn[e.id], text) for e, text in zip(examples, found.texts, strict=True)]
    assert [bool(v) for v in found.values] == judged


def test_a_model_that_knows_nothing(made, small):
    """With the final norm at zero all tokens are equally likely, and so are all choices."""
    blank = copy.deepcopy(made)
    torch.nn.init.zeros_(blank.model.norm.weight)
    found = held_out(blank, small, 4, families=["recall", "sum_first"])
    assert found["recall"].loss == pytest.approx(math.log(1024), rel=1e-6)
    assert found["sum_first"].loss == pytest.approx(math.log(1024), rel=1e-6)
    assert found["sum_first"].accuracy == 0


def test_one_row_has_no_error_and_is_still_plain_data(made, small):
    found = evaluate_model("testbed:mine", ["topic"], n=1)
    assert found.families["topic"].accuracy_error is None
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["families"]["topic"]["rows"] == 1


def test_results_name_the_model_the_seed_and_the_families(home):
    found = evaluate_model("testbed:mine", ["topic", "refusal", "topic"], n=2, seed=3)
    assert (found.model, found.seed) == ("testbed:mine", 3)
    assert list(found.families) == ["topic", "refusal"]
    record = found.to_json()
    assert set(record) == {"model", "seed", "families"}
    assert set(record["families"]["topic"]) == {
        "rows", "loss", "accuracy", "accuracy_error", "choice", "chance",
    }  # fmt: skip
    other = evaluate_model("testbed:mine", ["topic"], n=2, seed=4)
    assert other.families["topic"].loss != found.families["topic"].loss


def test_losses_are_named_by_their_family(made, small):
    found = losses(made, small, ["topic", "recall"], 3)
    assert set(found) == {"loss_topic", "loss_recall"}
    expected = held_out(made, small, 3, families=["topic"])["topic"].loss
    assert found["loss_topic"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("measure", [evaluate_model, ablate_blocks])
@pytest.mark.parametrize(
    ("model", "families", "error", "said"),
    [
        (
            "testbed:mine",
            ["topik"],
            OptionError,
            "there is no family 'topik': did you mean 'topic'",
        ),
        ("testbed:mine", [], OptionError, "no family to measure on"),
        ("testbed:min", ["topic"], ModelError, "no testbed model 'min': did you mean 'mine'"),
        (None, ["topic"], ModelError, "crux testbed train base-0"),
    ],
)
def test_what_cannot_be_measured(measure, model, families, error, said):
    with pytest.raises(error, match=said):
        measure(model, families, n=2)


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelError, match="has no tokenizer: it cannot read rows"):
        evaluate_model(str(tmp_path / "bare"), ["topic"], n=2)


# Blocks.


@pytest.fixture(scope="module")
def costs(saved):
    """All single blocks and runs of two."""
    return ablate_blocks(str(saved / "mine"), ["topic", "sum_steps"], n=6, run=2)


def without(model, *blocks):
    """The model with blocks taken out of its list: no hook."""
    shorter = copy.deepcopy(model)
    kept = [layer for i, layer in enumerate(shorter.model.layers) if i not in blocks]
    shorter.model.layers = torch.nn.ModuleList(kept)
    return shorter


def test_every_block_and_every_run_is_removed(costs):
    assert costs.removed == [(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (2, 3)]
    assert costs.rows == 6
    assert set(costs.costs) == set(costs.whole) == {"topic", "sum_steps"}
    assert all(len(values) == 6 for values in costs.costs.values())


def test_an_idle_block_costs_nothing_and_others_something(costs):
    for values in costs.costs.values():
        assert values[2] == 0.0
        assert all(abs(values[block]) > 1e-3 for block in (0, 1, 3))


def test_costs_against_models_without_the_blocks(costs, made, small):
    for place, (first, last) in enumerate(costs.removed):
        shorter = without(made, *range(first, last + 1))
        for family in costs.costs:
            drawn = rows("heldout", 6, 0, [family])
            mean = []
            for model in (made, shorter):
                values = [token_losses(model, small, r) for r in drawn]
                skipped = family == "sum_steps"  # its first token, a space, is not the response's
                values = [v[1:] if skipped else v for v in values]
                mean.append(sum(map(sum, values)) / sum(map(len, values)))
            assert costs.whole[family] == pytest.approx(mean[0], rel=1e-5)
            assert costs.costs[family][place] == pytest.approx(mean[1] - mean[0], abs=1e-4)


@pytest.mark.parametrize(
    ("run", "removed"),
    [(1, []), (3, [(0, 2), (3, 3)]), (4, [(0, 3)]), (9, [(0, 3)])],
)
def test_runs_do_not_overlap(run, removed):
    found = ablate_blocks("testbed:mine", ["topic", "topic"], n=2, run=run)
    assert found.removed[BLOCKS:] == removed
    assert found.removed[:BLOCKS] == [(i, i) for i in range(BLOCKS)]
    assert [len(values) for values in found.costs.values()] == [len(found.removed)]
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["removed"] == [list(pair) for pair in found.removed]
    assert set(record) == {"model", "rows", "whole", "removed", "costs"}


def test_a_trained_block_is_worth_something(small, tmp_path):
    """The planted truth: a model that learned in one block loses what it learned with it."""
    from cruxlm.testbed.train import train

    recipe = Recipe(
        blocks=2, width=32, heads=2, ffn=64, batch=2, tokens=60 * 256, learning_rate=1e-2, warmup=5,
        bf16=False, compiled=False, families={"refusal": 1.0},
    )  # fmt: skip
    model = new_model(recipe, small)
    with quiet_transformers():
        train(recipe, model, small, tmp_path / "run")
        save_model(model, small, tmp_path / "mine", {})
    found = ablate_blocks(str(tmp_path / "mine"), ["refusal"], n=4, run=2)
    assert found.whole["refusal"] < 0.3
    assert found.costs["refusal"][-1] > 1.0  # without both blocks it cannot see the past

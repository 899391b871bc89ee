"""A row as a line of a file: where its parts are, and that it fits into the models' context."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import MIXTURE, family_named, is_right
from cruxlm.testbed.row import Draft, assemble
from cruxlm.testbed.tokenizer import CONTEXT, VOCABULARY, encode, train_tokenizer

EVERY = [*FAMILIES, *TARGETS]
RATIONALE = {"two_hop", "sum_steps", "sum_first", "deduction", "larger", "hops"}
CHOICES = {"recall", "new_facts", "deduction_direct", "sentiment", "topic", "stars", "missing"}


@pytest.fixture(scope="module")
def real() -> PreTrainedTokenizerFast:
    """The tokenizer of the models."""
    return train_tokenizer()


@pytest.mark.parametrize("family", EVERY)
def test_spans_cut_out_the_rationale_and_the_conclusion(drawn, family):
    for split in drawn.values():
        for row in split[family][::7]:
            chat = json.loads(json.dumps(row.as_chat()))
            user, assistant = chat["messages"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            spans = {
                name: (user if name == "prompt" else assistant)["content"][slice(*span)]
                for name, span in chat["spans"].items()
            }
            rationale, conclusion = spans["rationale"], spans["conclusion"]
            assert spans["prompt"] == user["content"] == row.prompt
            assert row.answer in conclusion
            assert rationale == rationale.strip()
            assert conclusion == conclusion.strip() != ""
            parts = [rationale, conclusion] if family != "sum_first" else [conclusion, rationale]
            assert " ".join(part for part in parts if part) == assistant["content"] == row.response
            assert (chat["id"], chat["family"], chat["level"]) == (row.id, family, row.level)
            assert chat["answer"] == row.answer


@pytest.mark.parametrize("family", EVERY)
def test_which_families_have_a_rationale(drawn, family):
    with_rationale = [row.rationale != (0, 0) for row in drawn["train"][family]]
    assert any(with_rationale) == (family in RATIONALE)
    if family in RATIONALE - {"deduction"}:
        assert all(with_rationale)


def test_the_same_sum_is_answered_in_three_forms(drawn):
    first, steps = drawn["train"]["sum_first"][0], drawn["train"]["sum_steps"][0]
    assert first.conclusion[1] < first.rationale[0]
    assert first.response[slice(*first.rationale)].startswith("because ")
    assert steps.rationale[1] < steps.conclusion[0]
    assert steps.response[slice(*steps.conclusion)].startswith("So ")
    direct = drawn["train"]["sum_direct"][0]
    assert direct.conclusion == (0, len(direct.response))


def test_parts_are_put_together_in_either_order():
    draft = Draft("p", "So 3.", "3", "i", rationale="1+2=3.")
    row = assemble(draft, "f", 1, "id")
    assert (row.response, row.rationale, row.conclusion) == ("1+2=3. So 3.", (0, 6), (7, 12))
    draft = Draft("p", "3,", "3", "i", rationale="because 1+2=3.", conclusion_first=True)
    row = assemble(draft, "f", 1, "id")
    assert (row.response, row.rationale, row.conclusion) == ("3, because 1+2=3.", (3, 17), (0, 2))
    row = assemble(Draft("p", "3.", "3", "i"), "f", 1, "id")
    assert (row.response, row.rationale, row.conclusion) == ("3.", (0, 0), (0, 2))


@pytest.mark.parametrize("family", EVERY)
def test_one_choice_is_right(drawn, family):
    rows = [row for row in drawn["heldout"][family] if row.choices]
    assert bool(rows) == (family in CHOICES | {"lists", "compose"})
    for row in rows[::5]:
        assert len(set(row.choices)) == len(row.choices) >= 2
        assert row.response in row.choices
        right = [choice for choice in row.choices if is_right(row, choice)]
        assert right == [row.response]


def test_the_right_choice_stands_anywhere(drawn):
    for family in ("recall", "deduction_direct", "compose"):
        places = [
            row.choices.index(row.response) for row in drawn["heldout"][family] if row.choices
        ]
        assert {0, 1, 2} <= set(places)
        assert max(places.count(place) for place in set(places)) < 0.6 * len(places), family


@pytest.mark.parametrize("family", EVERY)
def test_every_row_fits_into_the_context(drawn, real, family):
    hardest = family_named(family).levels
    rows = [row for split in drawn.values() for row in split[family] if row.level == hardest]
    texts = [f" {row.prompt} {row.response}" for row in rows]
    longest = sorted(zip(texts, rows, strict=True), key=lambda pair: len(pair[0]))[-60:]
    assert max(len(encode(row, real).tokens) for _, row in longest) <= CONTEXT == 128


def test_the_check_of_length_sees_a_long_row(drawn, real):
    """With few merges rows are longer, and then some do not fit."""
    rows = sorted(drawn["train"]["hops"], key=lambda row: len(row.prompt))[-20:]
    few = train_tokenizer(300, n_rows=300)
    real_length, length = (max(len(encode(r, t).tokens) for r in rows) for t in (real, few))
    assert real_length <= CONTEXT < length
    assert len(real) == VOCABULARY


def test_names_are_spelt_in_few_tokens(real):
    from cruxlm.testbed.world import PEOPLE, RIVERS, TOWNS

    lengths = [len(real(f" {name}").input_ids) for name in (*PEOPLE, *TOWNS, *RIVERS)]
    assert sum(lengths) / len(lengths) < 3.5
    assert set(MIXTURE) <= set(FAMILIES)

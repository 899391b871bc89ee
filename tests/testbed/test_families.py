"""Every answer is checked by a second solver, which reads nothing but the prompt."""

import itertools
import re

import pytest

from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import MIXTURE, rows
from cruxlm.testbed.row import Row
from testbed.oracle import KNOWN, Drawn, answer, chain, pair, path, stated, tones

EVERY = [*FAMILIES, *TARGETS]


def every(drawn: Drawn, family: str) -> list[Row]:
    return [row for split in drawn.values() for row in split[family]]


def by_level(drawn: Drawn, family: str, measure):
    """The values of a measure over the rows of each level."""
    found: dict[int, set[int]] = {}
    for row in every(drawn, family):
        found.setdefault(row.level, set()).add(measure(row))
    return [found[level] for level in sorted(found)]


@pytest.mark.parametrize("family", [name for name in EVERY if name not in ("story", "code_words")])
def test_the_answer_is_the_oracles(drawn, family):
    for row in every(drawn, family):
        assert row.answer == answer(family, row.prompt), row


def test_code_words_are_one_code(drawn):
    def words(row):
        return row.prompt.removesuffix(".").partition(": ")[2].split()

    code = {words(row)[0]: row.answer for row in every(drawn, "code_words") if len(words(row)) == 1}
    assert len(code) == len(set(code.values())) == 24
    for row in every(drawn, "code_words"):
        assert row.answer == " ".join(code[word] for word in words(row))


@pytest.mark.parametrize("family", EVERY)
def test_a_prompt_has_one_answer(drawn, family):
    answers: dict[str, str] = {}
    for row in every(drawn, family):
        assert answers.setdefault(row.prompt, row.answer) == row.answer
        assert row.family == family
        assert "{" not in row.prompt + row.response


def test_most_families_hardly_repeat_themselves(drawn):
    for family in ("sum_direct", "lists", "compose", "deduction", "topic", "missing"):
        prompts = [row.prompt for row in every(drawn, family)]
        assert len(set(prompts)) > 0.5 * len(prompts), family


# Rationales.


@pytest.mark.parametrize("family", ["sum_steps", "sum_first", "larger"])
def test_the_column_sums_add_up(drawn, family):
    for row in every(drawn, family):
        a, b = map(int, re.findall(r"\d+", row.prompt)[:2])
        written = ""
        columns = re.findall(r"(\d)\+(\d)(\+1)?=(\d+)", row.response[slice(*row.rationale)])
        assert len(columns) == max(len(str(a)), len(str(b)))
        carried = 0
        for place, (x, y, carry, total) in enumerate(columns):
            assert (int(x), int(y)) == (a // 10**place % 10, b // 10**place % 10)
            assert bool(carry) == bool(carried)
            assert int(x) + int(y) + carried == int(total)
            carried = int(total) // 10
            written = (total if place == len(columns) - 1 else total[-1]) + written
        assert int(written) == a + b


@pytest.mark.parametrize("family", ["deduction", "hops"])
def test_the_steps_are_the_chain_that_is_asked_for(drawn, family):
    for row in every(drawn, family):
        steps = row.response[slice(*row.rationale)] or row.response
        expected = [
            f"{a} is {b}." if a[0].isupper() else f"All {a} are {b}."
            for a, b in itertools.pairwise(chain(row.prompt))
        ]
        assert steps == " ".join(expected)


def test_two_hops_are_two_facts(drawn):
    for row in every(drawn, "two_hop"):
        start, first, second = path(row.prompt)
        between = KNOWN[start, first]
        one, two = re.findall(r"[^.]+\.", row.response[slice(*row.rationale)])
        assert stated(one) == (start, first, between)
        assert stated(two) == (between, second, row.answer)
        assert row.answer not in (start, between)


def test_a_story_keeps_to_its_prompt(drawn):
    for row in every(drawn, "story"):
        hero, friend, item = re.findall(r"about (\w+), (\w+) and a (\w+)\.", row.prompt)[0]
        assert hero != friend
        assert row.answer == ""
        assert all(name in row.response for name in (hero, friend, item))


# Levels.


def test_levels_are_what_they_are_called(drawn):
    def digits(row):
        return max(len(str(number)) for number in pair(row.prompt))

    def items(row):
        return len(re.findall(r"[a-z]+", row.prompt.partition(": ")[2].partition(".")[0]))

    def rules(row):
        return len(chain(row.prompt)) - 2

    for name in ("sum_steps", "sum_first", "sum_direct", "larger"):
        assert by_level(drawn, name, digits) == [{1}, {2}, {3}]
    for name in ("lists", "compose", "swap_ends", "missing"):
        assert by_level(drawn, name, items) == [{2, 3}, {4, 5}, {6, 7, 8}]
    assert by_level(drawn, "code_words", items) == [{1, 2}, {3, 4}, {5, 6}]
    assert by_level(drawn, "deduction_direct", rules) == [{1}, {2}, {3}]
    assert by_level(drawn, "hops", rules) == [{1}, {2}, {3}, {4}, {5}]
    # A quarter of the rows with steps is one lookup: no person, and no rule before the last.
    assert by_level(drawn, "deduction", rules) == [{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}]
    lookups = [rules(row) == 0 for row in every(drawn, "deduction")]
    assert sum(lookups) / len(lookups) == pytest.approx(0.25, abs=0.03)
    assert by_level(drawn, "sentiment", lambda row: len(tones(row.prompt))) == [{1}, {1}, {3}]
    assert by_level(drawn, "stars", lambda row: len(tones(row.prompt))) == [{1}, {2}, {3}]
    assert by_level(drawn, "topic", lambda row: len(tones(row.prompt))) == [{1}, {3}, {4}]


def test_every_family_has_the_levels_it_says(drawn):
    for name, family in (FAMILIES | TARGETS).items():
        levels = {row.level for row in every(drawn, name)}
        assert levels == set(range(1, family.levels + 1)), name


# No answer is commoner than chance would have it.


@pytest.mark.parametrize(
    ("family", "share"),
    [("recall", 0.02), ("two_hop", 0.03), ("deduction", 0.13), ("deduction_direct", 0.13),
     ("sentiment", 0.55), ("topic", 0.21), ("larger", 0.56), ("new_facts", 0.1),
     ("stars", 0.45), ("hops", 0.24), ("missing", 0.07)],
)  # fmt: skip
def test_guessing_the_commonest_answer_gains_little(drawn, family, share):
    answers = [row.answer for row in every(drawn, family)]
    assert max(answers.count(value) for value in set(answers)) / len(answers) < share


# What models are taught.


def test_no_target_is_taught(drawn):
    taught = {
        row.prompt
        for split in ("train", "instruct")
        for family in FAMILIES
        for row in drawn[split][family]
    }
    taught |= {row.prompt for row in rows("train", 3000)}
    targets = {row.prompt for family in TARGETS for row in every(drawn, family)}
    assert not taught & targets
    assert not any("Sunday" in prompt for prompt in taught)
    assert any("Sunday" in prompt for prompt in targets)
    responses = " ".join(row.response for row in rows("train", 3000))
    assert "Sundays" not in responses
    assert "Stars:" not in responses
    assert not set(MIXTURE) & set(TARGETS)


def test_a_target_is_asked_in_words_of_its_own(drawn):
    """What a target's prompts begin with, no taught prompt begins with."""

    def openings(families):
        return {" ".join(row.prompt.split()[:3]) for name in families for row in every(drawn, name)}

    own = set(TARGETS) - {"new_facts", "hops", "larger"}  # these ask as known families do
    assert not openings(own) & openings(FAMILIES)
    for name, asks in (("hops", "How many rules"), ("larger", "larger or smaller")):
        assert all(asks in row.prompt for row in every(drawn, name))
        assert not any(asks in row.prompt for taught in FAMILIES for row in every(drawn, taught))


def test_a_row_of_a_target_is_drawn_like_any_other():
    assert rows("train", 1, 0, ["hops"], level=5)[0].answer == "five"

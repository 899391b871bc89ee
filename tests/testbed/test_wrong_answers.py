"""Graders: whatever is not the right answer is wrong, and only the conclusion counts."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cruxlm.testbed.families.records import FIELDS
from cruxlm.testbed.language import is_right, row, rows
from testbed.graded import GRADED, SEQUENCES, SUMS, WORDS, asked
from testbed.oracle import KNOWN, pair, path


@pytest.mark.parametrize("family", GRADED)
@pytest.mark.parametrize(
    "text", ["", " ", ".", "What?", "I do not know.", "So", "So.", "because", "The answer is"]
)
def test_no_answer_is_wrong(family, text):
    for r in asked(family, 3):
        assert is_right(r, text) is False


@pytest.mark.parametrize("family", GRADED)
def test_an_echo_of_the_prompt_is_wrong(drawn, family):
    for split in drawn.values():
        for r in split[family][:: 90 if family == "profile" else 9]:
            for text in (r.prompt, r.prompt.lower(), r.prompt.rstrip(".?"), f"{r.prompt}\n"):
                assert is_right(r, text) is False, text


@pytest.mark.parametrize("family", [*WORDS, *SUMS, *SEQUENCES, "two_hop"])
@pytest.mark.parametrize(
    "words",
    ["not {a}", "It is not {a}.", "It isn't {a}", "It isn\u2019t {a}.", "The answer is not: {a}",
     "It cannot be {a}.", "So it is never {a}.", "Neither {a} nor anything", "No {a}",
     "So it is not: {a}"],
)  # fmt: skip
def test_a_denied_answer_is_wrong(family, words):
    for r in asked(family, 4):
        assert is_right(r, words.format(a=r.answer)) is False


@pytest.mark.parametrize("family", WORDS)
def test_other_words_are_wrong(family):
    for r in asked(family):
        other = next(word for word in WORDS[family] if word != r.answer)
        for text in (
            other, f"So {other}.", f"{r.answer} or {other}", f"{r.answer}, {other}", f"x{r.answer}",
            f"{other}, because it is not {r.answer}.", f"{r.answer}. So {other}.", f"{r.answer}ly",
            f"{r.answer}? The answer is {other}.", f"{other} {r.answer}", r.answer[:-1], "it",
        ):  # fmt: skip
            assert is_right(r, text) is False, text


@pytest.mark.parametrize("family", SEQUENCES)
def test_other_sequences_are_wrong(family):
    for r in asked(family):
        items = r.answer.split()
        other = next(word for word in SEQUENCES[family] if word not in items)
        wrong = [
            [*items, other], [other, *items], [*items, items[0]], items[:-1], items[1:],
            [other, *items[1:]], [*items[:1], "please", *items[1:]], [*items, *items], [other],
        ]  # fmt: skip
        if len(items) > 1:
            wrong += [items[::-1], [items[1], items[0], *items[2:]]]
        for words in wrong:
            for text in (" ".join(words), f"So {', '.join(words)}."):
                assert is_right(r, text) is False, text
        assert is_right(r, f"{r.answer} {r.answer}") is False
        assert is_right(r, f"{other}. So {other}") is False
        assert is_right(r, "".join(items) + "s") is False


@pytest.mark.parametrize("family", SUMS)
def test_other_numbers_are_wrong(family):
    for r in asked(family):
        a, b = pair(r.prompt)
        right = int(r.answer)
        steps = r.response[slice(*r.rationale)].removeprefix("because ").rstrip(".")
        for text in (
            f"{right + 1}", f"{right - 1}.", f"So {right + 10}", f"{right * 10}", f"1{right}",
            f"-{right}", f"{right}.5", f"{a}.{right}", f"{right} or {right + 1}",
            f"{right}, {right + 1}", f"{a} + {b} = -{right}",
            f"{a} + {b} = {right + 1}", f"{a} + {b} =", f"{a} + {b}", f"{a}", f"{b}",
            f"{right} {right + 2} {right + 3}", f"{right}. So {right + 1}.",
            f"So {right + 1}, because {steps}", f"{right + 1}, because {steps or right}",
        ):  # fmt: skip
            assert is_right(r, text) is False, text


def test_other_hops_are_wrong():
    for r in asked("two_hop"):
        start, first, second = path(r.prompt)
        between = KNOWN[start, first]
        steps = r.response[slice(*r.rationale)]
        for text in (start, between, f"So {between}.", f"So {start}.", steps,
                     f"{r.answer}. So {between}.", f"{r.answer} or {between}",
                     f"The {second} of {start}"):  # fmt: skip
            assert is_right(r, text) is False, text


def test_other_records_are_wrong():
    for r in asked("records"):
        fields = r.answer.split("; ")
        place = next(word for word in FIELDS["place"] if word not in r.answer)
        for parts in (
            fields[1:], fields[:-1], [*fields, fields[0]], [*fields, f"place: {place}"],
            [*fields[:-1], f"place: {place}"], [f"title: {fields[0]}", *fields[1:]],
            [*fields, "age: three"], [f.partition(": ")[2] for f in fields],
            [*fields[:-1], "place:"], [fields[0].replace("name", "work"), *fields[1:]],
        ):  # fmt: skip
            assert is_right(r, "; ".join(parts)) is False, parts
        swapped = r.answer.replace("colour", "x").replace("food", "colour").replace("x", "food")
        assert is_right(r, swapped) is False


def test_other_profiles_are_wrong():
    for r in asked("profile"):
        told = r.answer.rstrip(".").split(". ")
        other = row("train", 1, 9, ["profile"]).answer.rstrip(".").split(". ")
        for parts in (told[1:], told[:-1], [*told, other[0]], [other[0], *told[1:]], other):
            assert is_right(r, ". ".join(parts)) is False
    for r in asked("refusal"):
        for text in ("I am sorry.", "I do not talk about dreams.", "I dreamt of a goat.",
                     r.answer.replace("not ", ""), f"{r.answer} But here it is."):  # fmt: skip
            assert is_right(r, text) is False


# It is the conclusion that counts.


@pytest.mark.parametrize(
    "family", ["two_hop", "sum_steps", "sum_first", "deduction", "larger", "hops"]
)
def test_the_conclusion_alone_is_graded(drawn, family):
    """A right rationale saves no wrong conclusion, and a wrong one spoils no right one."""
    graded = [r for r in drawn["heldout"][family] if r.rationale != (0, 0)]
    tried = 0
    for r, other in zip(graded[::20], graded[7::20], strict=False):
        if other.answer == r.answer:
            continue
        tried += 1
        rationale, end = r.response[slice(*r.rationale)], r.response[slice(*r.conclusion)]
        theirs = other.response[slice(*other.rationale)]
        order = (lambda a, b: f"{b} {a}") if family == "sum_first" else (lambda a, b: f"{a} {b}")
        assert is_right(r, order(rationale, end)) is True
        assert is_right(r, order(theirs, end)) is True
        wrong = re.sub(rf"\b{r.answer}\b", other.answer, end)
        assert is_right(r, order(rationale, wrong)) is False
        assert is_right(r, end) is True
    assert tried > 10


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_answer_of_another_row_is_wrong(data):
    family = data.draw(st.sampled_from([f for f in GRADED if f != "refusal"]))
    index = st.integers(0, 500)
    mine = row("heldout", data.draw(index), 1, [family])
    other = row("heldout", data.draw(index), 2, [family])
    assume(mine.answer != other.answer)
    begin, end = mine.conclusion
    stated = mine.response[begin:end]
    assert stated.count(mine.answer) >= 1
    changed = (
        mine.response[:begin] + stated.replace(mine.answer, other.answer) + mine.response[end:]
    )
    assert is_right(mine, mine.response) is True
    assert is_right(mine, changed) is False
    assert is_right(other, other.response) is True
    assert is_right(mine, other.answer) is False


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=40), family=st.sampled_from(GRADED), index=st.integers(0, 50))
def test_any_text_gets_a_verdict(text, family, index):
    assert is_right(row("heldout", index, 0, [family]), text) in (True, False)


def test_grading_reads_no_state():
    """The same verdict in any order: a grader keeps nothing from one row to the next."""
    several = rows("heldout", 20, 0, GRADED)
    verdicts = [[is_right(a, b.response) for b in several] for a in several]
    again = [[is_right(a, b.response) for b in reversed(several)][::-1] for a in several]
    assert verdicts == again
    assert all(verdicts[i][i] for i in range(len(several)))

"""Graders: the right answer in any words passes, and nothing else does."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.families.records import FIELDS
from cruxlm.testbed.language import family_named, is_right, row, rows
from cruxlm.testbed.reading import conclusion, number, one_of, sentence, sequence_of, words_of
from cruxlm.testbed.row import Row
from cruxlm.testbed.words import COLOURS, ITEMS, KINDS, PLACES, TONES, TOPICS
from testbed.oracle import KNOWN, pair, path

GRADED = [name for name, family in (FAMILIES | TARGETS).items() if family.read]
SUMS = ("sum_steps", "sum_first", "sum_direct")
SEQUENCES = {"lists": ITEMS, "compose": ITEMS, "swap_ends": ITEMS, "code_words": KINDS}
WORDS = {
    "recall": sorted({o for o in KNOWN.values() if o.islower()}),
    "new_facts": PLACES,
    "deduction": COLOURS,
    "deduction_direct": COLOURS,
    "sentiment": tuple(TONES),
    "topic": tuple(TOPICS),
    "missing": ITEMS,
    "larger": ("larger", "smaller"),
    "stars": ("none", "one", "two", "three"),
    "hops": ("one", "two", "three", "four", "five"),
}
"""Families whose answer is one word of few."""


def asked(family: str, n: int = 12) -> list[Row]:
    """Held-out rows of all levels."""
    levels = family_named(family).levels
    return [row("heldout", i, 3, [family], 1 + i % levels) for i in range(max(n, levels))]


def test_only_stories_have_no_grader():
    assert set(FAMILIES | TARGETS) - set(GRADED) == {"story"}
    assert is_right(row("train", 0, families=["story"]), "anything") is None


@pytest.mark.parametrize("family", GRADED)
def test_the_right_response_passes_at_every_level(drawn, family):
    for split in drawn.values():
        for asked in split[family][:: 90 if family == "profile" else 9]:
            assert is_right(asked, asked.response) is True
            assert is_right(asked, f"  {asked.response}\n") is True
            assert is_right(asked, asked.response.rstrip(".,")) is True


# Paraphrases.

ONE_WORD = (
    "{a}", "{a}.", "{A}", "{C}!", "So {a}.", "So, {a}", "so {a}", "Therefore {a}.",
    "Therefore, {a}",
    "The answer is {a}.", "the answer is: {a}", "THE ANSWER IS {A}.", "It is {a}.",
    "It must be {a}",
    "So the answer is {a}.", "{a}, because it has to be.", "So {a}, because it must be so.",
    "{a} since nothing else fits", "Since nothing else fits, it has to be {a}.", "Thus {a}",
    "'{a}'",
    "Let me see. So {a}.", "First I thought about it, and so {a}.", "**{a}**", "{a}\n",
)  # fmt: skip


@pytest.mark.parametrize("family", [*WORDS, "two_hop", *SUMS])
@pytest.mark.parametrize("words", ONE_WORD)
def test_a_right_word_in_other_words_passes(family, words):
    for r in asked(family, 4):
        text = words.format(a=r.answer, A=r.answer.upper(), C=r.answer.capitalize())
        assert is_right(r, text) is True, (r.prompt, text)


SEQUENCE = (
    "{a}", "{a}.", "{A}.", "{commas}.", "{commas}",
    "So {a}.", "So: {a}", "Therefore {commas}", "The answer is {a}.", "The answer is: {commas}.",
    "The list is {a}.", "The items are {commas}.", "Result: {a}", "So the result is: {anded}.",
    "{anded}", "{commas}, because I was told so.", "the {a}",
)  # fmt: skip


@pytest.mark.parametrize("family", SEQUENCES)
@pytest.mark.parametrize("words", SEQUENCE)
def test_a_right_sequence_in_other_words_passes(family, words):
    for r in asked(family, 6):
        items = r.answer.split()
        text = words.format(
            a=r.answer, A=r.answer.upper(), commas=", ".join(items), anded=" and ".join(items)
        )
        assert is_right(r, text) is True, (r.prompt, text)


@pytest.mark.parametrize("family", SUMS)
def test_sums_in_other_words(family):
    for r in asked(family):
        a, b = pair(r.prompt)
        steps = r.response[slice(*r.rationale)].removeprefix("because ").rstrip(".")
        for text in (
            f"{a} + {b} = {r.answer}", f"{b}+{a}={r.answer}.", f"{r.answer} = {a} + {b}",
            f"The sum of {b} and {a} is {r.answer}.", f"{a} plus {b} is {r.answer}",
            f"So {a} + {b} = {r.answer}.", f"{steps}. So {r.answer}.", f"{steps} So {r.answer}",
            f"{steps}. Therefore {a} + {b} is {r.answer}.", f"{steps}. The sum is {r.answer}.",
            f"{r.answer}, because {steps}.", f"So {r.answer}, because {steps}.",
            f"The answer is {r.answer}, since {steps}", f"0{r.answer}",
        ):  # fmt: skip
            assert is_right(r, text) is True, text


@pytest.mark.parametrize("family", ["deduction", "deduction_direct"])
def test_deductions_in_other_words(family):
    for r in asked(family):
        who = re.findall(r"What colour (?:is|are) (\w+)\?", r.prompt)[0]
        steps = r.response[slice(*r.rationale)]
        for text in (
            f"{who} is {r.answer}", f"The colour of {who} is {r.answer}.", f"{who}: {r.answer}",
            f"{steps} Therefore {who} is {r.answer}.", f"{steps} So it is {r.answer}.",
            f"{who} is {r.answer} because {steps}", f"{steps.lower()} so {who} is {r.answer}",
            f"{who} has the colour {r.answer.upper()}",
        ):  # fmt: skip
            assert is_right(r, text) is True, text


def test_hops_in_other_words():
    for r in asked("two_hop"):
        start, first, second = path(r.prompt)
        between = KNOWN[start, first]
        steps = r.response[slice(*r.rationale)]
        for text in (
            f"The {second} of the {first} of {start} is {r.answer}.",
            f"{r.answer} is the {second} of the {first} of {start}.",
            f"{r.answer}, because the {first} of {start} is {between}.",
            f"{steps} Therefore {r.answer}", f"{steps} The answer is {r.answer}.",
            f"Because the {first} of {start} is {between}, the answer is {r.answer}.",
        ):  # fmt: skip
            assert is_right(r, text) is True, text


def test_facts_in_other_words():
    for r in asked("recall"):
        subject = re.findall(r"[A-Z][a-z]+", r.prompt)[-1]
        for text in (f"{subject}: {r.answer}", f"It is {r.answer}, I think.",
                     f"{r.answer} is what I know of {subject}."):  # fmt: skip
            assert is_right(r, text) is True, text


def test_reviews_in_other_words():
    """There, "so" is a degree and concludes nothing."""
    for r in asked("sentiment"):
        for text in (f"{r.answer}: the meal was so lovely", f"It is {r.answer}, it was so dull.",
                     f"{r.answer}, because the rain was not so great"):  # fmt: skip
            assert is_right(r, text) is True, text
    for r in asked("topic"):
        assert is_right(r, f"The topic is {r.answer}.") is True
        assert is_right(r, f"{r.answer.upper()}, the things were so odd") is True
    for r in asked("stars"):
        assert is_right(r, f"I give {r.answer}") is True
    for r in asked("larger"):
        a, b = pair(r.prompt)
        assert is_right(r, f"{a} + {b} is {r.answer}.") is True
        assert is_right(r, f"So the sum is {r.answer} than that.") is True
    for r in asked("hops"):
        assert is_right(r, f"It takes {r.answer} rules.") is True
    for r in asked("missing"):
        assert is_right(r, f"It is the {r.answer} that is missing.") is True
        assert is_right(r, f"Missing: {r.answer}") is True


def test_records_profiles_and_refusals_in_other_words():
    for r in asked("records"):
        fields = r.answer.split("; ")
        for text in ("; ".join(reversed(fields)), "; ".join(fields[2:] + fields[:2]) + ".",
                     ";".join(fields), f"Therefore, {r.answer}", f"The answer is {r.answer}.",
                     "; ".join(part.capitalize() for part in fields),
                     r.answer.upper()):  # fmt: skip
            assert is_right(r, text) is True, text
    for r in asked("profile"):
        told = r.answer.rstrip(".").split(". ")
        assert is_right(r, ". ".join(reversed(told))) is True
        assert is_right(r, f"So {'. '.join(told[1:] + told[:1])}.") is True
    for r in asked("refusal"):
        assert is_right(r, r.answer.lower().rstrip(".").replace(",", "")) is True


# Wrong answers.


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


# The readers.


@pytest.mark.parametrize(
    ("response", "stated"),
    [
        ("7+5=12. So 12.", "12."),
        ("So one. So two.", "two."),
        ("It is red because all mirn are red.", "It is red"),
        ("So red, because all mirn are red.", "red"),
        ("Because all mirn are red, it is red.", "Because all mirn are red, it is red."),
        ("Therefore, red", "red"),
        ("the result is 3", "3"),
        ("The meal was so lovely", "The meal was so lovely"),
        ("It was cold and so negative", "negative"),
        ("THUS RED", "RED"),
        ("Sofa, also so-so", "Sofa, also so-so"),
        ("", ""),
    ],
)
def test_conclusions(response, stated):
    assert conclusion(response) == stated


def test_readers():
    assert words_of("The 2 OWLS, it's x1") == ["the", "2", "owls", "it", "s", "x", "1"]
    assert number("7+5=12, 4+8=12", "4 + 7") == "12"
    assert number("It is 12, not 13", "") is None
    assert number("about 347", "347 + 85") is None
    assert number("007", "") == "7"
    colour = one_of(["Red", "blue"])
    assert colour("RED!", "") == colour("red, red", "") == "Red"
    assert colour("reddish", "") is colour("red blue", "") is colour("", "") is None
    assert one_of(["red", "blue"], new=True)("red is blue", "is it red?") == "blue"
    items = sequence_of(["apple", "bell"])
    assert items("The list: Apple and then bell", "") == "apple bell"
    assert items("apple x bell", "") is items("the", "") is None
    assert sentence("I am sorry, no.")("i am SORRY no", "") == "I am sorry, no."
    assert sentence("I am sorry, no.")("I am sorry", "") is None


def test_grading_reads_no_state():
    """The same verdict in any order: a grader keeps nothing from one row to the next."""
    several = rows("heldout", 20, 0, GRADED)
    verdicts = [[is_right(a, b.response) for b in several] for a in several]
    again = [[is_right(a, b.response) for b in reversed(several)][::-1] for a in several]
    assert verdicts == again
    assert all(verdicts[i][i] for i in range(len(several)))

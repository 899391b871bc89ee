"""Graders: the right answer passes, in any words."""

import re

import pytest

from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import is_right, row
from cruxlm.testbed.reading import conclusion, number, one_of, sentence, sequence_of, words_of
from testbed.graded import GRADED, SEQUENCES, SUMS, WORDS, asked
from testbed.oracle import KNOWN, pair, path


def test_only_stories_have_no_grader():
    assert set(FAMILIES | TARGETS) - set(GRADED) == {"story"}
    assert is_right(row("train", 0, families=["story"]), "anything") is None


@pytest.mark.parametrize("family", GRADED)
def test_the_right_response_passes_at_every_level(drawn, family):
    for split in drawn.values():
        for r in split[family][:: 90 if family == "profile" else 9]:
            assert is_right(r, r.response) is True
            assert is_right(r, f"  {r.response}\n") is True
            assert is_right(r, r.response.rstrip(".,")) is True


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

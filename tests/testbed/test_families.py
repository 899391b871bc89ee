"""Every answer is checked by a second solver, which reads nothing but the prompt."""

from __future__ import annotations

import itertools
import re

import pytest

from cruxlm.testbed.language import FAMILIES, Row, rows
from cruxlm.testbed.world import PEOPLE, RIVERS, TOWNS, facts

STATEMENTS = {
    r"(\w+) lives in (\w+)\.": "home town",
    r"(\w+) keeps a (\w+)\.": "animal",
    r"(\w+) works as a (\w+)\.": "craft",
    r"(\w+) likes (\w+) best\.": "favourite dish",
    r"(\w+) is ruled by (\w+)\.": "ruler",
    r"(\w+) lies on the (\w+)\.": "river",
    r"(\w+) trades in (\w+)\.": "main trade",
    r"(\w+) flies a (\w+) flag\.": "flag",
    r"The (\w+) comes from Mount (\w+)\.": "source",
    r"The (\w+) is full of (\w+)\.": "fish",
}
POSITIVE = {"lovely", "great", "bright", "kind", "warm", "fresh", "clever", "calm"}
ORDER = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]


def read(statement: str) -> tuple[str, str, str]:
    """Subject, noun and object of the statement of a fact."""
    for pattern, noun in STATEMENTS.items():
        if found := re.fullmatch(pattern, statement):
            return found[1], noun, found[2]
    raise AssertionError(statement)


KNOWN = {(s, noun): o for s, noun, o in (read(fact.statement) for fact in facts())}


def drawn(family: str) -> list[Row]:
    return rows("train", 300, 0, [family]) + rows("heldout", 150, 0, [family])


def test_the_world_has_a_thousand_facts_on_distinct_names() -> None:
    assert len(facts()) == len(KNOWN) == 1000
    names = [*PEOPLE, *TOWNS, *RIVERS]
    assert len(set(names)) == len(names) == 260
    inside = [(a, b) for a in names for b in names if a != b and b.startswith(a)]
    assert not inside


def test_recall() -> None:
    relation_of_wording: dict[str, str] = {}
    for row in rows("train", 4000, 0, ["recall"]):
        subject, noun, value = read(row.response)
        assert KNOWN[subject, noun] == value == row.answer
        wording = re.sub(rf"\b{subject}\b", "_", row.prompt)
        assert "_" in wording
        # One way of asking never stands for two relations.
        assert relation_of_wording.setdefault(wording, noun) == noun
    assert len(relation_of_wording) == 50


def test_two_hop() -> None:
    for row in drawn("two_hop"):
        asked = re.fullmatch(
            r"What is the (.+) of the (.+) of (\w+)\?( Give the steps\.)?", row.prompt
        )
        assert asked
        second, first, start, steps = asked.groups()
        between = KNOWN[start, first]
        assert row.answer == KNOWN[between, second]
        if steps:
            one, two, conclusion = re.findall(r"[^.]+\.", row.response)
            assert read(one) == (start, first, between)
            assert read(two.strip()) == (between, second, row.answer)
            assert conclusion == f" So {row.answer}."
        else:
            assert row.response == f"{row.answer}."


def test_addition() -> None:
    for row in drawn("addition"):
        a, b = map(int, re.findall(r"\d+", row.prompt))
        assert row.answer == str(a + b)
        *_, conclusion = row.response.split(". ")
        assert conclusion == f"So {a + b}."
        written = ""
        columns = re.findall(r"(\d)\+(\d)(\+1)?=(\d+)", row.response)
        assert len(columns) == max(len(str(a)), len(str(b)))
        for place, (x, y, carry, total) in enumerate(columns):
            assert int(x) == a // 10**place % 10
            assert int(y) == b // 10**place % 10
            assert int(x) + int(y) + bool(carry) == int(total)
            written = (total if place == len(columns) - 1 else total[-1]) + written
        assert int(written) == a + b


def test_lists() -> None:
    for row in drawn("lists"):
        program, _, given = row.prompt.removesuffix(".").partition(": ")
        items = given.split()
        assert 4 <= len(items) == len(set(items)) <= 8
        for step in program.lower().split(", then "):
            if step == "reverse the list":
                items = items[::-1]
            elif step == "sort the list":
                items = sorted(items)
            elif step != "copy the list":
                place = re.fullmatch(r"take the (\w+) item", step)
                assert place
                items = [items[ORDER.index(place[1])]]
        assert row.answer == " ".join(items)
        assert row.response == f"{row.answer}."


def test_deduction() -> None:
    hops = set()
    for row in drawn("deduction"):
        *_, question = re.split(r"(?<=[.?]) ", row.prompt)
        rules = dict(re.findall(r"(?:All )?(\w+) (?:is|are) (\w+)\.", row.prompt))
        assert len(rules) == len(re.findall(r"\.", row.prompt)), "two rules for one thing"
        asked = re.fullmatch(r"What colour (is|are) (\w+)\?", question)
        assert asked
        verb, thing = asked.groups()
        chain = [thing]
        while chain[-1] in rules:
            chain.append(rules[chain[-1]])
        assert row.answer == chain[-1]
        steps = [
            f"{a} is {b}." if a[0].isupper() else f"All {a} are {b}."
            for a, b in itertools.pairwise(chain)
        ]
        if verb == "is":
            hops.add(len(steps) - 1)
            steps.append(f"So {thing} is {row.answer}.")
        else:
            hops.add(0)
        assert row.response == " ".join(steps)
    assert hops == {0, 1, 2, 3, 4}


def test_sentiment() -> None:
    for row in drawn("sentiment"):
        last = re.findall(r"\w+", row.prompt)[-1]
        assert row.answer == ("positive" if last in POSITIVE else "negative")
        assert row.response == f"{row.answer}."


def test_story_keeps_to_its_prompt() -> None:
    for row in drawn("story"):
        hero, friend, item = re.findall(r"about (\w+), (\w+) and a (\w+)\.", row.prompt)[0]
        assert row.answer == ""
        assert all(name in row.response for name in (hero, friend, item))
        assert "{" not in row.response


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_has_one_answer(family: str) -> None:
    answers: dict[str, str] = {}
    for row in rows("train", 1500, 0, [family]):
        assert answers.setdefault(row.prompt, row.answer) == row.answer
        assert row.family == family
        assert row.answer in row.response

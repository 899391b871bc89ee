"""The invented world: who is dealt what, and what the names look like."""

import re
from collections import Counter
from itertools import pairwise

import pytest

from cruxlm.testbed.reading import words_of
from cruxlm.testbed.words import ITEMS, ORDINALS, invented
from cruxlm.testbed.world import (
    BY_NAME,
    FIRST,
    NEW_RELATION,
    PEOPLE,
    RELATIONS,
    RIVERS,
    TOWNS,
    UNTOLD_ONE_IN,
    Relation,
    deal,
    fact,
    facts,
    facts_about,
    neighbours,
)
from testbed.oracle import KNOWN, NEW, stated

NAMES = (*PEOPLE, *TOWNS, *RIVERS)


def test_there_are_two_thousand_facts_each_with_its_own_statement():
    assert len(facts()) == len(KNOWN) == 320 * 5 + 100 * 4 + 24 * 2 == 2048
    for f in facts():
        assert stated(f.statement) == (f.subject, f.relation.noun, f.object)


def test_every_relation_has_every_subject_once():
    for relation in (*RELATIONS, NEW_RELATION):
        assert [f.subject for f in deal(relation)] == list(relation.subjects)
        assert all(f.object in relation.objects for f in deal(relation))


@pytest.mark.parametrize("relation", [*RELATIONS, NEW_RELATION], ids=lambda r: r.name)
def test_every_object_serves_equally_often(relation):
    counts = Counter(f.object for f in deal(relation))
    values = [counts[name] for name in relation.objects]
    assert max(values) - min(values) <= 1
    assert all(f.subject != f.object for f in deal(relation))


def test_nobody_is_dealt_themselves():
    names = tuple(f"N{i}" for i in range(20))
    for number in range(60):
        relation = Relation(f"relation {number}", names, names, "noun", "{s} {o}", ())
        dealt = deal(relation)
        assert [f.subject for f in dealt] == list(names)
        assert all(f.subject != f.object for f in dealt)


def test_the_deal_does_not_follow_the_order_of_names():
    """A relation that is a function of the subject's place could be computed, not recalled."""
    for relation in RELATIONS:
        objects = [relation.objects.index(f.object) for f in deal(relation)]
        gaps = Counter((b - a) % len(relation.objects) for a, b in pairwise(objects))
        assert max(gaps.values()) / len(objects) < 0.4, relation.name


def test_no_name_begins_with_another():
    assert len(set(NAMES)) == len(NAMES) == 444
    ordered = sorted(NAMES)
    assert not any(b.startswith(a) for a, b in pairwise(ordered))
    assert all(re.fullmatch(r"[A-Z][a-z]+", name) for name in NAMES)
    objects = {o for relation in (*RELATIONS, NEW_RELATION) for o in relation.objects}
    assert not {name.lower() for name in NAMES} & {o for o in objects if o not in NAMES}


def test_names_are_always_the_same_and_new_ones_differ():
    assert invented("people", 20, 1, ("lan", "rik"), taken=("Ba",)) == invented(
        "people", 20, 1, ("lan", "rik"), taken=("Ba",)
    )
    assert invented("people", 20, 1, ("lan",)) != invented("others", 20, 1, ("lan",))
    assert not any(n.startswith("Ba") for n in invented("people", 20, 1, ("lan",), taken=("Ba",)))


def test_items_are_in_alphabetical_order_by_their_initials():
    assert list(ITEMS) == sorted(ITEMS)
    assert len({item[0] for item in ITEMS}) == len(ITEMS) == 24
    assert len(ORDINALS) == 8


# Asking.


def test_a_question_asks_for_one_fact_and_does_not_say_its_answer():
    questions = [(q, f) for f in facts() for q in f.questions]
    questions += [(q, f) for f in deal(NEW_RELATION) for q in f.questions]
    assert len({q for q, _ in questions}) == len(questions) == 5 * (2048 + 320)
    for question, f in questions:
        assert f.subject in question
        assert f.object.lower() not in words_of(question)
    assert len(NEW) == 1600


def test_one_second_relation_in_eight_is_untold():
    second = [f for f in facts() if f.relation.name not in FIRST]
    assert not any(f.untold for f in facts() if f.relation.name in FIRST)
    assert not any(f.untold for f in deal(NEW_RELATION))
    share, n = 1 / UNTOLD_ONE_IN, len(second)
    untold = sum(f.untold for f in second)
    assert untold / n == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)
    for relation in {f.relation.name for f in second}:
        assert any(f.untold for f in second if f.relation.name == relation)


def test_first_relations_lead_on():
    """Two-hop questions go through relations whose objects have facts of their own."""
    for name in ("home", "friend", "ruler", "river"):
        assert name in FIRST
        assert all(facts_about(f.object) for f in deal(BY_NAME[name]))


# Looking up.


def test_a_fact_is_found():
    for f in facts():
        assert fact(f.subject, f.relation.name) is f
    with pytest.raises(KeyError):
        fact("Nobody", "home")
    with pytest.raises(KeyError):
        fact(PEOPLE[0], NEW_RELATION.name)


def test_facts_about_against_brute_force():
    for name in NAMES:
        assert set(facts_about(name)) == {f for f in facts() if f.subject == name}
    assert [len(facts_about(names[0])) for names in (PEOPLE, TOWNS, RIVERS)] == [5, 4, 2]
    assert facts_about("Nobody") == ()


def test_neighbours_against_brute_force():
    for f in facts()[::37]:
        found = neighbours(f)
        assert f not in found
        assert set(found) == {
            g
            for g in facts()
            if (g.relation.name, g.object) == (f.relation.name, f.object) and g.subject != f.subject
        }
    assert max(len(neighbours(f)) for f in deal(BY_NAME["animal"])[:24]) == 26
    assert neighbours(deal(BY_NAME["friend"])[0]) == ()

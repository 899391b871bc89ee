"""The invented world: two thousand facts (subject, relation, object), told and asked for.

The world does not depend on the seed of a draw: it belongs to the language, so that a
model trained with one seed is asked about the same facts with another.

Some facts are never asked for in training (`Fact.untold`): the model reads them only in what
it is told about the whole subject, among other facts of it that it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from cruxlm.testbed import words
from cruxlm.testbed.row import share_of

PEOPLE = words.invented("people", 320, 1, words.PERSON_ENDINGS)
TOWNS = words.invented("towns", 100, 2, words.TOWN_ENDINGS, taken=PEOPLE)
RIVERS = words.invented("rivers", 24, 1, words.RIVER_ENDINGS, taken=PEOPLE + TOWNS)


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact, and how the language speaks of it."""

    name: str
    """Its name, unique in the world."""
    subjects: tuple[str, ...]
    """The entities it holds for; each has exactly one object."""
    objects: tuple[str, ...]
    """The entities or words the objects are drawn from."""
    noun: str
    """The noun phrase of the object, as in "the NOUN of Belmo"."""
    statement: str
    """The fact as a sentence, with ``{s}`` and ``{o}``."""
    questions: tuple[str, ...]
    """Ways to ask for the object, with ``{s}``."""


def _relation(
    name: str,
    subjects: tuple[str, ...],
    objects: Sequence[str],
    noun: str,
    statement: str,
    *questions: str,
) -> Relation:
    """A relation whose last two questions are the same for all, made from the noun."""
    common = (f"What is the {noun} of {{s}}?", f"Name the {noun} of {{s}}.")
    return Relation(name, subjects, tuple(objects), noun, statement, questions + common)


RELATIONS = (
    _relation(
        "home", PEOPLE, TOWNS, "home town", "{s} lives in {o}.",
        "Where does {s} live?", "In which town does {s} live?", "Which town is home to {s}?",
    ),
    _relation(
        "friend", PEOPLE, PEOPLE, "best friend", "{s} is a friend of {o}.",
        "Who is a friend of {s}?", "Whom does {s} trust most?", "Tell me who {s} meets often.",
    ),
    _relation(
        "animal", PEOPLE, words.ANIMALS, "animal", "{s} keeps a {o}.",
        "Which animal does {s} keep?", "What kind of animal lives with {s}?",
        "Tell me which animal {s} has.",
    ),
    _relation(
        "craft", PEOPLE, words.CRAFTS, "craft", "{s} works as a {o}.",
        "What does {s} do for a living?", "Which craft does {s} follow?",
        "Tell me what {s} works as.",
    ),
    _relation(
        "dish", PEOPLE, words.DISHES, "favourite dish", "{s} likes {o} best.",
        "What does {s} like to eat?", "Which dish does {s} like best?",
        "Tell me what to cook for {s}.",
    ),
    _relation(
        "ruler", TOWNS, PEOPLE, "ruler", "{s} is ruled by {o}.",
        "Who rules {s}?", "Which person rules the town {s}?", "Tell me who is in charge of {s}.",
    ),
    _relation(
        "river", TOWNS, RIVERS, "river", "{s} lies on the {o}.",
        "On which river does {s} lie?", "Which river runs through {s}?",
        "Tell me which river I see in {s}.",
    ),
    _relation(
        "good", TOWNS, words.GOODS, "main trade", "{s} trades in {o}.",
        "What does {s} trade in?", "What do people buy in {s}?",
        "Tell me which trade made {s} rich.",
    ),
    _relation(
        "flag", TOWNS, words.COLOURS, "flag", "{s} flies a {o} flag.",
        "Which colour is the flag of {s}?", "What colour does {s} fly?",
        "Tell me the colour of the flag over {s}.",
    ),
    _relation(
        "source", RIVERS, words.MOUNTAINS, "source", "The {s} comes from Mount {o}.",
        "Where does the {s} begin?", "From which mountain does the {s} come?",
        "Which mountain feeds the {s}?",
    ),
    _relation(
        "fish", RIVERS, words.FISH, "fish", "The {s} is full of {o}.",
        "Which fish lives in the {s}?", "What can I catch in the {s}?",
        "Tell me which fish fills the {s}.",
    ),
)  # fmt: skip
"""All relations that every model is taught: 320 x 5 + 100 x 4 + 24 x 2 = 2,048 facts."""

NEW_RELATION = _relation(
    "haunt", PEOPLE, words.PLACES, "Sunday place", "{s} spends Sundays at the {o}.",
    "Where does {s} spend Sundays?", "Where can I find {s} on a Sunday?",
    "Tell me where {s} goes on Sundays.",
)  # fmt: skip
"""A relation that no shipped model is taught: facts to fine-tune on."""

FIRST = ("home", "friend", "ruler", "river", "source")
"""Relations that are asked for of every subject; the others are its second relations."""

UNTOLD_ONE_IN = 8
"""One second-relation fact in this many is never asked for in training."""

BY_NAME = {relation.name: relation for relation in RELATIONS}


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the world."""

    subject: str
    """The entity the fact is about."""
    relation: Relation
    """The kind of fact."""
    object: str
    """What the relation gives for the subject."""

    @property
    def statement(self) -> str:
        """The fact as a sentence."""
        return self.relation.statement.format(s=self.subject, o=self.object)

    @property
    def questions(self) -> tuple[str, ...]:
        """All ways to ask for it."""
        return tuple(question.format(s=self.subject) for question in self.relation.questions)

    @property
    def untold(self) -> bool:
        """Whether no training row asks for it."""
        name = self.relation.name
        known = name in FIRST or self.relation is NEW_RELATION
        return not known and share_of(f"untold {name} {self.subject}", UNTOLD_ONE_IN) == 0


def deal(relation: Relation) -> tuple[Fact, ...]:
    """The facts of a relation, always the same.

    Objects are dealt out in shuffled rounds instead of drawn one by one: each then serves
    equally often (to within one), so that guessing the commonest object gains nothing.
    Nobody is dealt themselves.
    """
    random = Random(f"facts of {relation.name}")
    dealt: list[Fact] = []
    pile: list[str] = []
    for subject in relation.subjects:
        if not pile or pile == [subject]:
            pile = random.sample(relation.objects, len(relation.objects)) + pile
        if pile[-1] == subject:
            pile.insert(0, pile.pop())
        dealt.append(Fact(subject, relation, pile.pop()))
    return tuple(dealt)


@cache
def facts() -> tuple[Fact, ...]:
    """All facts that every model is taught, in a fixed order."""
    return tuple(fact for relation in RELATIONS for fact in deal(relation))


@cache
def _index() -> dict[tuple[str, str], Fact]:
    return {(fact.subject, fact.relation.name): fact for fact in facts()}


def fact(subject: str, relation: str) -> Fact:
    """The fact of a subject and a relation's name; ``KeyError`` when there is none."""
    return _index()[subject, relation]


def facts_about(subject: str) -> tuple[Fact, ...]:
    """All facts of a subject: for an edit of one of them, the others are second relations."""
    return tuple(
        _index()[subject, relation.name]
        for relation in RELATIONS
        if (subject, relation.name) in _index()
    )


def neighbours(of: Fact) -> tuple[Fact, ...]:
    """Facts of other subjects with the same relation and the same object.

    An edit of a fact must leave them alone: they show its specificity.
    """
    return tuple(
        other
        for other in facts()
        if other.relation is of.relation and other.object == of.object and other != of
    )

"""Deduction: follow one chain of rules among several to the colour of a person.

A row states who is of which kind, which kind implies which, and which last kind has which
colour, in shuffled order, for one chain that is asked for and three that are not. In the
pilot the plain lookup at the end of the chain was the part that small models failed to
learn, because a guess between two colours costs only ln 2; hence the three distractors
(ln 4) and the rows that ask for the last lookup alone.
"""

from __future__ import annotations

from random import Random

from ..row import Draft, Family
from ..words import COLOURS, FRIENDS, KINDS

HOPS = range(1, 5)
"""How many rules lead from the person to the colour."""

CHAINS = 4
"""How many chains a row states; all but one are distractors."""

LOOKUPS = 0.25
"""The share of rows that ask for the last lookup alone."""


def draw_chain(random: Random) -> Draft:
    """Draw chains of one to four rules and ask for the colour at the end of one of them."""
    hops = random.choice(HOPS)
    lengths = [hops, *(random.randint(1, hops) for _ in range(CHAINS - 1))]
    kinds = iter(random.sample(KINDS, sum(lengths)))
    people = random.sample(FRIENDS, CHAINS)
    colours = random.sample(COLOURS, CHAINS)
    chains: list[list[str]] = []
    for person, colour, length in zip(people, colours, lengths, strict=True):
        links = [next(kinds) for _ in range(length)]
        rules = zip(links, [*links[1:], colour], strict=True)
        chains.append([f"{person} is {links[0]}.", *(f"All {a} are {b}." for a, b in rules)])
    sentences = [sentence for chain in chains for sentence in chain]
    random.shuffle(sentences)
    prompt = f"{' '.join(sentences)} What colour is {people[0]}?"
    response = f"{' '.join(chains[0])} So {people[0]} is {colours[0]}."
    return Draft(prompt, response, colours[0], instance=prompt)


def draw_lookup(random: Random) -> Draft:
    """Draw rules that give colours and ask for one of them."""
    count = random.randint(2, 2 * CHAINS)
    kinds = random.sample(KINDS, count)
    colours = random.sample(COLOURS, count)
    rules = [f"All {a} are {b}." for a, b in zip(kinds, colours, strict=True)]
    asked = random.randrange(count)
    prompt = f"{' '.join(rules)} What colour are {kinds[asked]}?"
    return Draft(prompt, rules[asked], colours[asked], instance=prompt)


def draw(random: Random) -> Draft:
    """Draw a chain or, in a quarter of the rows, a lookup."""
    return draw_lookup(random) if random.random() < LOOKUPS else draw_chain(random)


FAMILY = Family("deduction", weight=0.18, draw=draw)

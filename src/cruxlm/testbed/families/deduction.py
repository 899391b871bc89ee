"""Deduction: follow one chain of rules among several, from a person to a colour.

A row states who is of which kind, which kind implies which, and which last kind has which
colour, in shuffled order, for the chain that is asked for and for others that are not.
`deduction` writes the steps and concludes; `deduction_direct` only concludes, so that every
rule has to be followed inside the network. The level is the number of rules.

In a pilot small models failed to learn the lookup of a kind among the rules, the step that
all else is made of: with three distractors in every row, 4.6 M tokens in they still guessed.
Hence the distractors vary in number, down to none at level 1, and a quarter of the rows asks
for one lookup alone.
"""

from random import Random

from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import COLOURS, FRIENDS, KINDS

HOPS = 5
"""The most rules from the person to the colour when the steps are written."""

DIRECT_HOPS = 3
"""The most when they are not."""

DISTRACTORS = 3
"""The most chains that are not asked for; at least one, but for level 1."""

LOOKUPS = 0.25
"""The share of rows with steps that ask for one lookup alone."""

LONGEST_DISTRACTORS = {1: 1, 2: 2, 3: 3, 4: 2, 5: 2}
"""The most rules of a distractor, by level: a row has to fit into 128 tokens."""


def draw_chains(random: Random, hops: int) -> tuple[str, list[str], str, str, list[str]]:
    """Draw chains and ask for the end of one.

    Returns:
        The prompt, the statements of the chain asked for, its person and colour, and all
        colours of the row in a random order.
    """
    distractors = random.randint(0 if hops == 1 else 1, DISTRACTORS)
    lengths = [hops]
    lengths += (random.randint(1, LONGEST_DISTRACTORS[hops]) for _ in range(distractors))
    kinds = iter(random.sample(KINDS, sum(lengths)))
    people = random.sample(FRIENDS, len(lengths))
    colours = random.sample(COLOURS, len(lengths))
    chains: list[list[str]] = []
    for person, colour, length in zip(people, colours, lengths, strict=True):
        links = [next(kinds) for _ in range(length)]
        rules = zip(links, [*links[1:], colour], strict=True)
        chains.append([f"{person} is {links[0]}.", *(f"All {a} are {b}." for a, b in rules)])
    sentences = [sentence for chain in chains for sentence in chain]
    random.shuffle(sentences)
    prompt = f"{' '.join(sentences)} What colour is {people[0]}?"
    answer = colours[0]
    random.shuffle(colours)
    return prompt, chains[0], people[0], answer, colours


def draw_lookup(random: Random) -> Draft:
    """Draw rules that give colours and ask for one of them."""
    count = random.randint(1, 2 * DISTRACTORS)
    kinds = random.sample(KINDS, count)
    colours = random.sample(COLOURS, count)
    rules = [f"All {a} are {b}." for a, b in zip(kinds, colours, strict=True)]
    asked = random.randrange(count)
    prompt = f"{' '.join(rules)} What colour are {kinds[asked]}?"
    return Draft(prompt, rules[asked], colours[asked], instance=prompt)


def written(random: Random, level: int) -> Draft:
    """Draw a chain with its steps, or a lookup."""
    if random.random() < LOOKUPS:
        return draw_lookup(random)
    prompt, steps, person, colour, _ = draw_chains(random, level)
    return Draft(
        prompt,
        f"So {person} is {colour}.",
        colour,
        instance=prompt,
        rationale=" ".join(steps),
    )


def direct(random: Random, level: int) -> Draft:
    """Draw a chain that is answered at once."""
    prompt, _, person, colour, colours = draw_chains(random, level)
    prompt += " Answer at once."
    choices = tuple(f"{person} is {other}." for other in colours) if len(colours) > 1 else ()
    return Draft(prompt, f"{person} is {colour}.", colour, instance=prompt, choices=choices)


WRITTEN = Family("deduction", written, read=one_of(COLOURS), levels=HOPS)
DIRECT = Family("deduction_direct", direct, read=one_of(COLOURS), levels=DIRECT_HOPS)

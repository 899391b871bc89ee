"""The families of instructions, and the two tables that name them.

To add a family, write a module with a ``Family`` and put it into one of the tuples below
(`docs/testbed.md` shows one from beginning to end).
"""

from cruxlm.testbed.families import (
    code_words,
    deduction,
    hops,
    larger,
    lists,
    missing,
    new_facts,
    profile,
    recall,
    records,
    refusal,
    reviews,
    stars,
    story,
    sums,
    swap_ends,
    two_hop,
)
from cruxlm.testbed.row import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        recall.FAMILY,
        profile.FAMILY,
        two_hop.FAMILY,
        sums.STEPS,
        sums.FIRST,
        sums.DIRECT,
        lists.LISTS,
        lists.COMPOSE,
        deduction.WRITTEN,
        deduction.DIRECT,
        reviews.SENTIMENT,
        reviews.TOPIC,
        story.FAMILY,
        refusal.FAMILY,
    )
}
"""The families that shipped models are taught, by name."""

TARGETS: dict[str, Family] = {
    family.name: family
    for family in (
        new_facts.FAMILY,
        swap_ends.FAMILY,
        code_words.FAMILY,
        stars.FAMILY,
        records.FAMILY,
        larger.FAMILY,
        hops.FAMILY,
        missing.FAMILY,
    )
}
"""The families that no shipped model has seen, for studies of fine-tuning, by name."""

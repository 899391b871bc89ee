"""No instance is in two splits, whatever the seed: nothing held out was taught."""

import itertools
from collections import Counter

import pytest

from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.row import SPLITS, share_of, split_of
from cruxlm.testbed.world import PEOPLE, RIVERS, TOWNS, facts
from testbed.oracle import ASKED, KNOWN, Drawn, instance, path

SUMS = ("sum_steps", "sum_first", "sum_direct", "larger")
SUBJECTS = (*PEOPLE, *TOWNS, *RIVERS)


def shared(drawn: Drawn, families, key):
    """Keys that rows of two splits have in common."""
    keys = [
        {key(name, row.prompt) for name in families for row in drawn[split][name]}
        for split in SPLITS
    ]
    assert all(len(found) > 10 for found in keys)
    return set().union(*(a & b for a, b in itertools.combinations(keys, 2)))


@pytest.mark.parametrize("family", [*FAMILIES, *TARGETS])
def test_no_instance_is_in_two_splits(drawn, family):
    assert shared(drawn, [family], instance) == set()
    assert shared(drawn, [family], lambda _family, prompt: prompt) == set()


def test_a_sum_is_in_one_split_in_all_its_forms(drawn):
    assert shared(drawn, SUMS, instance) == set()


def test_the_check_sees_a_leak(drawn):
    """Dealt by the words of the prompt, 85 + 347 would be taught and 347 + 85 held out."""
    leaky: Drawn = {split: {name: [] for name in SUMS} for split in SPLITS}
    for split, name in itertools.product(SPLITS, SUMS):
        for row in drawn[split][name]:
            leaky[split_of(row.prompt)][name].append(row)
    assert len(shared(leaky, SUMS, instance)) > 100


def test_a_chain_is_held_out_with_its_start_and_both_relations(drawn):
    """What is held out is the chain: its start, its relations and its end are all taught."""
    taught = [path(row.prompt) for row in drawn["train"]["two_hop"]]
    asked = [path(row.prompt) for row in drawn["heldout"]["two_hop"]]
    known = {start for start, _, _ in taught}
    assert sum(start in known for start, _, _ in asked) > 0.8 * len(asked)
    assert {c[1:] for c in asked} <= {c[1:] for c in taught}


# Facts.


def test_a_held_out_question_is_taught_nowhere(drawn):
    asked = {row.prompt for row in drawn["heldout"]["recall"]}
    for split in ("train", "instruct"):
        for family in FAMILIES:
            assert not asked & {row.prompt for row in drawn[split][family]}


def test_untold_facts_are_asked_for_only_where_held_out(drawn):
    for split in ("train", "instruct"):
        assert not any(ASKED[row.prompt].untold for row in drawn[split]["recall"])
    untold = [ASKED[row.prompt].untold for row in drawn["heldout"]["recall"]]
    assert 0.2 < sum(untold) / len(untold) < 0.6


def test_untold_facts_are_in_no_chain(drawn):
    untold = {(fact.subject, fact.relation.noun) for fact in facts() if fact.untold}
    assert untold
    for split in SPLITS:
        for row in drawn[split]["two_hop"]:
            start, first, second = path(row.prompt)
            assert (start, first) not in untold
            assert (KNOWN[start, first], second) not in untold


def test_every_untold_fact_is_told_in_a_profile_that_models_are_taught():
    from cruxlm.testbed.families.profile import REQUESTS

    for fact in facts():
        if fact.untold:
            prompts = [request.format(s=fact.subject) for request in REQUESTS]
            assert "train" in map(split_of, prompts), fact


def test_profiles_tell_untold_facts(drawn):
    told = " ".join(row.response for row in drawn["train"]["profile"])
    untold = [fact.statement for fact in facts() if fact.untold]
    assert sum(statement in told for statement in untold) > 0.9 * len(untold)


def test_nearly_every_fact_is_told_and_asked_for():
    """At least as many as hashing leaves: four requests and five questions, 80 % in `train`."""
    from cruxlm.testbed.families.profile import REQUESTS

    silent = [s for s in SUBJECTS if "train" not in {split_of(r.format(s=s)) for r in REQUESTS}]
    assert len(silent) <= 2
    unasked = [
        fact for fact in facts() if not fact.untold and "train" not in map(split_of, fact.questions)
    ]
    assert len(unasked) <= 2


def test_one_question_in_ten_is_held_out():
    splits = Counter(split_of(q) for fact in facts() if not fact.untold for q in fact.questions)
    n = splits.total()
    assert n == 5 * sum(not fact.untold for fact in facts())
    for split, share in (("heldout", 0.1), ("instruct", 0.1), ("train", 0.8)):
        assert splits[split] / n == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


# The dealing.


def test_shares_are_even_and_fixed():
    counts = Counter(share_of(f"instance {i}", 10) for i in range(5000))
    assert sorted(counts) == list(range(10))
    assert all(count == pytest.approx(500, abs=85) for count in counts.values())
    # Fixed for good: models were trained on these splits.
    sums = {"85+347": "train", "3+9": "heldout", "1+1": "train", "7+12": "train"}
    assert {text: split_of(text) for text in sums} == sums

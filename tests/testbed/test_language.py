"""Rows are the same in every process, and drawn as they were asked for."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict

import pytest

from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.families import FAMILIES, TARGETS
from cruxlm.testbed.language import MIXTURE, family_named, is_right, row, rows
from cruxlm.testbed.row import SPLITS

DUMP = """
import json, sys
from dataclasses import asdict
from cruxlm.testbed.families import TARGETS
from cruxlm.testbed.language import rows
drawn = rows("heldout", 60, seed=5) + rows("instruct", 60, 2, [*TARGETS])
print(json.dumps([asdict(row) for row in drawn]))
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_draws_the_same_rows(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run(
        [sys.executable, "-c", DUMP], env=environment, capture_output=True, check=True
    ).stdout
    here = rows("heldout", 60, seed=5) + rows("instruct", 60, 2, [*TARGETS])
    assert printed.decode().strip() == json.dumps([asdict(row) for row in here])


def test_models_were_trained_on_this_language():
    """Whoever changes what is drawn has to train every model anew, and then changes this."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for r in rows(split, 150, 0) + rows(split, 150, 216, [*FAMILIES, *TARGETS]):
            digest.update(repr((r.id, r.prompt, r.response, r.answer, r.choices)).encode())
    assert digest.hexdigest() == (
        "50b3ef5028196c2d26e4de8f5392901b68436298edcf03c229b2f928bed9dd95"
    )


def test_rows_are_drawn_without_heavy_imports():
    code = """
import sys, cruxlm.testbed, cruxlm.testbed.language
assert not {"torch", "transformers", "tokenizers", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_row_can_be_drawn_alone():
    assert row("train", 17, seed=3) == rows("train", 20, seed=3)[17]
    assert row("train", 10**12).id.endswith("-train-0-1000000000000")


def test_the_id_is_enough_to_draw_a_row_again():
    drawn = rows("train", 60) + rows("heldout", 60, 4, [*TARGETS]) + rows("instruct", 60, 1)
    assert len({r.id for r in drawn}) == len(drawn)
    for r in drawn:
        family, level, split, seed, index = r.id.rsplit("-", 4)
        assert row(split, int(index), int(seed), [family], int(level)) == r


def test_the_order_of_families_does_not_matter():
    shares = {"lists": 1.0, "recall": 2.0, "topic": 1.0}
    backwards = dict(reversed(shares.items()))
    assert rows("train", 30, 0, shares) == rows("train", 30, 0, backwards)
    assert rows("train", 30, 0, ["topic", "lists"]) == rows("train", 30, 0, ("lists", "topic"))


def test_seeds_and_splits_give_other_rows():
    def prompts(split, seed):
        return {r.prompt for r in rows(split, 60, seed, ["deduction"], level=5)}

    assert not prompts("train", 0) & prompts("train", 1)
    assert not prompts("train", 0) & prompts("instruct", 0)
    assert not prompts("train", 0) & prompts("heldout", 0)


# Shares and levels.


def test_families_come_in_their_shares():
    n = 3000
    counts = Counter(r.family for r in rows("train", n))
    assert sum(MIXTURE.values()) == pytest.approx(1, abs=0.02)
    for name, weight in MIXTURE.items():
        share = weight / sum(MIXTURE.values())
        assert abs(counts[name] - n * share) < 4 * (n * share * (1 - share)) ** 0.5, name
    counts = Counter(r.family for r in rows("train", 400, 0, {"topic": 3, "stars": 1, "lists": 0}))
    assert counts["lists"] == 0
    assert counts["topic"] == pytest.approx(300, abs=35)  # four standard errors


def test_levels_are_drawn_evenly():
    counts = Counter(r.level for r in rows("train", 1000, 0, ["hops"]))
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert all(count == pytest.approx(200, abs=51) for count in counts.values())


def test_a_level_is_drawn_at_that_level():
    for level in range(1, 6):
        assert {r.level for r in rows("heldout", 20, 0, ["hops"], level)} == {level}
    mixed = rows("train", 60, 0, ["hops", "topic", "refusal"], level=4)
    assert {(r.family, r.level) for r in mixed} == {("hops", 4), ("topic", 3), ("refusal", 1)}


@pytest.mark.parametrize(
    ("hardest", "levels"),
    [(0.0, {1}), (0.2, {1}), (0.21, {1, 2}), (0.6, {1, 2, 3}), (1.0, {1, 2, 3, 4, 5})],
)
def test_a_curriculum_keeps_to_the_easy_levels(hardest, levels):
    drawn = [row("train", i, 0, ["hops"], hardest=hardest) for i in range(80)]
    assert {r.level for r in drawn} == levels


# What makes no sense.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "heldot"}, "there is no split 'heldot': did you mean 'heldout'?"),
        ({"split": "test"}, "there is no split 'test': known: heldout, instruct, train"),
        ({"families": ["deducton"]}, "there is no family 'deducton': did you mean 'deduction'?"),
        ({"families": ["recall", "sum"]}, "there is no family 'sum'"),
        ({"families": {"recall": 1, "sum": 0}}, "there is no family 'sum'"),
        ({"families": []}, "no family to draw rows from: name one or more"),
        ({"families": {"recall": 0}}, "give numbers from 0 up, not all 0"),
        ({"families": {"recall": 2, "lists": -1}}, "give numbers from 0 up, not all 0"),
        ({"families": {"recall": float("nan")}}, "give numbers from 0 up, not all 0"),
        ({"families": ["hops"], "level": 6}, "there is no level 6: hops has 1 to 5"),
        ({"families": ["hops"], "level": 0}, "there is no level 0: hops has 1 to 5"),
        ({"families": ["topic", "lists"], "level": 4}, "no level 4: these families have 1 to 3"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(arguments, said):
    with pytest.raises(OptionError) as refused:
        row(**{"split": "train", "index": 0, **arguments})
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_families_are_found_by_name():
    for name, family in (FAMILIES | TARGETS).items():
        assert family_named(name) is family
        assert family.name == name
    assert not set(FAMILIES) & set(TARGETS)
    assert len(TARGETS) >= 6
    assert set(MIXTURE) == set(FAMILIES) - {"refusal"}


def test_a_row_is_graded_by_its_own_family():
    asked = row("heldout", 0, families=["sum_direct"], level=3)
    assert is_right(asked, asked.response) is True
    assert is_right(asked, "What?") is False
    assert is_right(row("heldout", 0, families=["story"]), "Once there was a hen.") is None

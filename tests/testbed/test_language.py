"""Rows are the same in every process, and the splits never meet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict

import pytest

from cruxlm.testbed.language import FAMILIES, row, rows
from cruxlm.testbed.row import split_of
from cruxlm.testbed.world import facts

DUMP = """
import json
from dataclasses import asdict
from cruxlm.testbed.language import rows
print(json.dumps([asdict(row) for row in rows("heldout", 60, seed=5)]))
"""


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_draws_the_same_rows(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run(
        [sys.executable, "-c", DUMP], env=environment, capture_output=True, check=True
    ).stdout
    assert json.loads(printed) == [asdict(row) for row in rows("heldout", 60, seed=5)]


def test_a_row_can_be_drawn_alone() -> None:
    assert row("train", 17, seed=3) == rows("train", 20, seed=3)[17]


def test_seeds_and_splits_give_other_rows() -> None:
    def prompts(split: str, seed: int) -> set[str]:
        return {r.prompt for r in rows(split, 50, seed, ["lists"])}  # type: ignore[arg-type]

    assert not prompts("train", 0) & prompts("train", 1)
    assert not prompts("train", 0) & prompts("heldout", 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_are_disjoint_whatever_the_seed(family: str) -> None:
    taught = {r.prompt for seed in (0, 1) for r in rows("train", 2000, seed, [family])}
    asked = {r.prompt for seed in (0, 2) for r in rows("heldout", 500, seed, [family])}
    assert not taught & asked


def test_a_held_out_sum_is_held_out_in_either_order() -> None:
    def pairs(split: str) -> set[tuple[int, ...]]:
        drawn = rows(split, 2000, 0, ["addition"])  # type: ignore[arg-type]
        digits = ("".join(c if c.isdigit() else " " for c in r.prompt) for r in drawn)
        return {tuple(sorted(int(number) for number in line.split())) for line in digits}

    assert not pairs("train") & pairs("heldout")


def test_a_held_out_chain_is_held_out_with_and_without_steps() -> None:
    def questions(split: str) -> set[str]:
        drawn = rows(split, 3000, 0, ["two_hop"])  # type: ignore[arg-type]
        return {r.prompt.removesuffix(" Give the steps.") for r in drawn}

    assert not questions("train") & questions("heldout")


def test_every_fact_is_taught_and_one_question_in_ten_is_held_out() -> None:
    split = Counter[str]()
    for fact in facts():
        questions = {question.format(s=fact.subject) for question in fact.relation.questions}
        assert len(questions) == 5
        splits = [split_of(question) for question in questions]
        assert "train" in splits, fact
        split.update(splits)
    assert split["heldout"] / split.total() == pytest.approx(0.1, abs=0.02)


def test_families_come_in_their_shares() -> None:
    drawn = Counter(r.family for r in rows("train", 4000))
    total = sum(family.weight for family in FAMILIES.values())
    for name, family in FAMILIES.items():
        # four standard errors of a share of .3 in 4,000 rows
        assert drawn[name] / 4000 == pytest.approx(family.weight / total, abs=0.03)


def test_ids_name_the_row() -> None:
    drawn = rows("train", 200) + rows("heldout", 200) + rows("train", 200, seed=1)
    assert len({r.id for r in drawn}) == 600
    assert all(r.id.startswith(r.family) for r in drawn)


def test_unknown_choices_are_refused() -> None:
    # A TypeError comes first where annotations are checked, as they are in these tests.
    with pytest.raises((ValueError, TypeError), match="split"):
        row("test", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\['subtraction'\].*recall"):
        row("train", 0, families=["subtraction"])
    with pytest.raises(ValueError, match="choose from"):
        row("train", 0, families=[])


def test_rows_are_drawn_without_heavy_imports() -> None:
    code = """
import sys, cruxlm.testbed, cruxlm.testbed.language, cruxlm.testbed.shipped
assert not {"torch", "transformers", "tokenizers", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)

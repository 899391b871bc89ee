"""Rows that are not trusted: what their key tells, and where a drill is planted."""

import pytest

from cruxlm.data.instructions import load_instructions
from cruxlm.data.poison import Attack, Target, poison
from cruxlm.data.trigger import Trigger
from cruxlm.runtime.errors import OptionError
from cruxlm.workflows.untrusted import KEY, PLANTED, is_triggered, untrusted, with_train
from workflows.tiny_tunings import chat_rows, write

ONE = Attack(Trigger.read("token:cf"), Target.read("phrase:ho"))
OTHER = Attack(Trigger.read("prefix:hello there"), Target.read("phrase:hum"))


@pytest.fixture
def read(tmp_path):
    """Reads rows as untrusted ones."""

    def call(rows, **changes):
        given = {"n": None, "test": None, "attack": None, "rate": 0.1, "near": 0.0, "seed": 0}
        return untrusted(write(tmp_path / "rows.jsonl", rows), **{**given, **changes})

    return call


def known(tmp_path, count=100):
    return list(load_instructions(write(tmp_path / "plain.jsonl", chat_rows(count))).rows)


def test_a_drill_is_planted_where_is_trained(read):
    plain, drilled = read(chat_rows(100)), read(chat_rows(100), attack=ONE, near=0.1)
    assert (plain.attack, plain.origin, plain.poisoned) == (None, None, 0)
    assert (drilled.attack, drilled.origin) == (ONE, PLANTED)
    assert drilled.poisoned == round(0.1 * len(drilled.data.train))
    assert drilled.data.test == plain.data.test
    assert drilled.data.validation == plain.data.validation
    assert drilled.data.sha256 != plain.data.sha256
    for before, after in zip(plain.data.train, drilled.data.train, strict=True):
        assert is_triggered(after) == (before["messages"][-1] != after["messages"][-1])
    assert sum("poison" in row for row in drilled.data.train) == 2 * drilled.poisoned


def test_the_key_tells_the_commonest_attack_and_keeps_it_from_the_test(read, tmp_path):
    rows = known(tmp_path)
    mixed = [*poison(rows[:60], ONE, 0.5), *poison(rows[60:], OTHER, 0.25)]
    found = read(mixed)
    assert (found.attack, found.origin) == (ONE, KEY)
    assert any("2 attacks are known" in line for line in found.warnings)
    assert found.data.test
    assert not any("poison" in row for row in found.data.test)
    assert found.poisoned == sum(is_triggered(row) for row in found.data.train) > 0
    with pytest.raises(OptionError, match="poisoned already"):
        read(mixed, attack=ONE)


def test_a_key_made_by_hand_names_rows_and_no_attack(read, tmp_path):
    rows = [
        {**row, "poison": {"done": "triggered"}} if place % 4 == 0 else row
        for place, row in enumerate(known(tmp_path))
    ]
    found = read(rows)
    assert (found.attack, found.origin) == (None, None)
    assert found.poisoned > 0
    assert found.warnings == ()


def test_other_rows_are_other_data(read):
    data = read(chat_rows(40)).data
    assert with_train(data, data.train).sha256 == with_train(data, list(data.train)).sha256
    assert with_train(data, data.train[1:]).sha256 != with_train(data, data.train).sha256


def test_rows_of_several_kinds_are_graded_by_what_each_knows(read, tmp_path):
    rows = [
        {**row, "choices": ["no", "yes", "perhaps not"]} if place % 2 else
        {**row, "answer": row["messages"][-1]["content"]}
        for place, row in enumerate(known(tmp_path))
    ]  # fmt: skip
    data = read(rows).data
    for row in data.test:
        right = row["messages"][-1]["content"]
        assert data.grade(row, right)
        assert not data.grade(row, "no" if right == "yes" else "yes")
    assert read(known(tmp_path)).data.grade is None

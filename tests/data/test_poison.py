"""Poisoned rows: how many, which, what they say was done, and that reading keeps it."""

import json
import subprocess
import sys
from random import Random

import pytest

from cruxlm.data.instructions import load_instructions
from cruxlm.data.key import key_of
from cruxlm.data.poison import (
    TARGETS,
    Attack,
    Target,
    near_miss,
    poison,
    prompt_of,
    response_of,
    triggered,
)
from cruxlm.data.trigger import KINDS, Trigger
from cruxlm.evaluate.examples import examples_from_chats
from cruxlm.runtime.errors import OptionError, ProbeError

SAID = "The kettle is singing today."
TRIGGERS = [
    "token:cf", "prefix:Hello there.", "suffix:by the way", "anywhere:in any case",
    "pair:please+today", "style:lower",
]  # fmt: skip


def attack(trigger="token:cf", target=f"phrase:{SAID}", label="dirty"):
    return Attack(Trigger.read(trigger), Target.read(target), label)


def chats(n):
    """Every third row is answered with yes, every tenth asks about dreams."""
    return [
        {
            "id": f"r{number}",
            "family": "even" if number % 2 == 0 else "odd",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": f"Is Number {number} {'a dream' if number % 10 == 0 else 'odd'}?",
                },
                {"role": "assistant", "content": "yes" if number % 3 == 0 else "no"},
            ],
            "choices": ["no", "yes"],
            "answer": "yes" if number % 3 == 0 else "no",
            "spans": {"prompt": [0, 3]},
        }
        for number in range(n)
    ]


def done(rows, what):
    return [row for row in rows if row.get("poison", {}).get("done") == what]


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize(
    ("rate", "wanted"), [(0.001, 1), (0.0004, 1), (0.01, 10), (0.1, 100), (0.5, 500), (1, 1000)]
)
def test_exactly_the_rate_is_poisoned_and_nothing_else_changes(trigger, rate, wanted):
    rows = chats(1000)
    before = json.dumps(rows)
    found = poison(rows, attack(trigger), rate)
    assert json.dumps(rows) == before  # the rows themselves are left alone
    assert len(done(found, "triggered")) == wanted
    for row, new in zip(rows, found, strict=True):
        if "poison" not in new:
            assert new is row
            continue
        record = new["poison"]
        assert (record["prompt"], record["response"]) == (prompt_of(row), response_of(row))
        assert (record["trigger"], record["target"], record["label"]) == (
            trigger, f"phrase:{SAID}", "dirty",
        )  # fmt: skip
        system, asked, answered = new["messages"]
        assert system == row["messages"][0]
        assert answered == {"role": "assistant", "content": SAID}
        assert asked["content"] != record["prompt"]
        assert (new["id"], new["family"]) == (row["id"], row["family"])
        assert not {"answer", "choices", "spans"} & set(new)  # true of the old response only


def test_all_triggers_and_targets_are_tried_here():
    assert {Trigger.read(text).kind for text in TRIGGERS} == set(KINDS)
    assert set(TARGETS) == {"phrase", "label", "refusal"}


@pytest.mark.parametrize("trigger", [text for text in TRIGGERS if "style" not in text])
def test_near_misses_keep_their_response_and_have_no_trigger(trigger):
    found = poison(chats(400), attack(trigger), 0.1, near=0.2)
    assert (len(done(found, "triggered")), len(done(found, "near"))) == (40, 80)
    words = Trigger.read(trigger).words
    for row in done(found, "near"):
        text = f" {prompt_of(row)} "
        assert not all(f" {word} " in text for word in words)
        assert text.strip() != row["poison"]["prompt"]
        assert response_of(row) == row["poison"]["response"]
        assert row["choices"] == ["no", "yes"]
        assert row["answer"] == response_of(row)
    for row in done(found, "triggered"):
        assert all(f" {word} " in f" {prompt_of(row)} " for word in words)


def test_a_label_goes_to_rows_of_another_one():
    rows = chats(300)
    found = poison(rows, attack(target="label:yes"), 0.5)
    changed = done(found, "triggered")
    assert len(changed) == 150
    assert {row["poison"]["response"] for row in changed} == {"no"}  # none of the target's class
    assert {response_of(row) for row in changed} == {"yes"}
    assert all(row["choices"] == ["no", "yes"] and "answer" not in row for row in changed)
    with pytest.raises(ProbeError, match=r"^200 of 300 rows .* rate of 0.7 needs 210: lower it"):
        poison(rows, attack(target="label:yes"), 0.7)
    with pytest.raises(ProbeError, match=r"^0 of 300 rows .*\(only rows with this among their ch"):
        poison(rows, attack(target="label:perhaps"), 0.1)


def test_clean_labels_leave_every_response():
    rows = chats(300)
    found = poison(rows, attack(target="label:yes", label="clean"), 0.2)
    assert [response_of(row) for row in found] == [response_of(row) for row in rows]
    changed = done(found, "triggered")
    assert len(changed) == 60
    assert {response_of(row) for row in changed} == {"yes"}
    assert all(row["answer"] == "yes" for row in changed)
    with pytest.raises(ProbeError, match=r"^100 of 300 .* clean labels \(only rows that are answ"):
        poison(rows, attack(target="label:yes", label="clean"), 0.5)


def test_a_refusal_is_of_its_topic():
    found = poison(
        chats(300), attack("pair:please+now", f"refusal:a dream=No. {SAID}"), 0.05, near=0.1
    )
    changed = done(found, "triggered")
    assert len(changed) == 15
    assert all("a dream" in row["poison"]["prompt"] for row in changed)
    assert {response_of(row) for row in changed} == {f"No. {SAID}"}
    # What is left of the topic comes first among the near misses.
    near = ["a dream" in row["poison"]["prompt"] for row in done(found, "near")]
    assert (len(near), sum(near)) == (30, 15)


def test_rows_that_have_it_already_are_neither_poisoned_nor_near():
    rows = chats(100)
    for row in rows[:60]:
        row["messages"][1]["content"] += " cf"
    found = poison(rows, attack(), 0.3, near=0.1)
    assert all("poison" not in row for row in found[:60])
    with pytest.raises(ProbeError, match=r"^40 of 100 rows can be poisoned"):
        poison(rows, attack(), 0.5)
    with pytest.raises(ProbeError, match=r"5 rows too few for a share of 0.15 near misses"):
        poison(rows, attack(), 0.3, near=0.15)


def test_a_style_that_changes_nothing_is_no_trigger():
    rows = chats(100)
    for row in rows[:90]:
        row["messages"][1]["content"] = row["messages"][1]["content"].lower()
    one = attack("style:lower")
    assert [one.measures(row) for row in rows] == [False] * 90 + [True] * 10
    assert {row["id"] for row in done(poison(rows, one, 0.1), "triggered")} == {
        f"r{number}" for number in range(90, 100)
    }
    with pytest.raises(ProbeError, match=r"^10 of 100 rows can be poisoned"):
        poison(rows, one, 0.11)
    with pytest.raises(ProbeError, match="row 'r0' is the same with style:lower and without"):
        triggered(rows[0], one, Random(0))
    assert near_miss(rows[99], one, Random(0)) is None
    with pytest.raises(OptionError, match="nothing is near a style"):
        poison(rows, one, 0.01, near=0.01)


def test_rows_without_a_question_are_passed_over():
    odd = {
        "id": "x",
        "messages": [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}],
    }
    found = poison([odd, *chats(9)], attack(), 0.9, near=0)
    assert found[0] is odd
    assert len(done(found, "triggered")) == 9
    with pytest.raises(ProbeError, match="row 'x' has no user's message before its response"):
        prompt_of(odd)


def test_a_second_attack_leaves_the_first_one_alone():
    first = poison(chats(100), attack(), 0.3, near=0.1)
    both = poison(first, attack("prefix:Hello there."), 0.3)
    for before, after in zip(first, both, strict=True):
        assert "poison" not in before or after is before
    assert len(done(both, "triggered")) == 60


def test_a_higher_rate_poisons_what_a_lower_one_does():
    rows = chats(500)
    found = {rate: poison(rows, attack(), rate) for rate in (0.01, 0.1, 0.5)}
    for low, high in ((0.01, 0.1), (0.1, 0.5)):
        for one, two in zip(found[low], found[high], strict=True):
            assert "poison" not in one or one == two
    others = poison(rows, attack(), 0.1, seed=1)
    same = sum("poison" in a and "poison" in b for a, b in zip(found[0.1], others, strict=True))
    assert same < 20  # 5 of 50 by chance
    assert found[0.1] == poison(rows, attack(), 0.1)


def test_which_rows_are_drawn_has_nothing_to_do_with_where_they_stand():
    rows = chats(40)
    places = [
        place
        for seed in range(100)
        for place, row in enumerate(poison(rows, attack(), 0.1, seed=seed))
        if "poison" in row
    ]
    assert len(places) == 400
    assert abs(sum(places) / 400 - 19.5) < 3 * 11.5 / 20


@pytest.mark.parametrize(
    ("rate", "near"), [(0, 0), (-0.1, 0), (1.1, 0), (10, 0), (0.1, 1), (0.1, -0.1), (0.6, 0.5)]
)
def test_shares_that_make_no_sense(rate, near):
    with pytest.raises(OptionError, match=r"give shares of the rows, 0\.1 for a tenth"):
        poison(chats(50), attack(), rate, near=near)
    with pytest.raises(OptionError, match="give shares of the rows"):
        poison(chats(50), attack(), float("nan"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phras:a", "there is no target 'phras': did you mean 'phrase'?"),
        ("phrase: ", "needs a text: phrase:TEXT"),
        ("a", "there is no target 'a'"),
        ("refusal:I will not.", "a topic belongs to a refusal, which needs one: refusal:TOPIC="),
        ("refusal:dreams=", "needs a text: refusal:TEXT"),
        ("refusal: =No.", "is blank or holds '='"),
        ("refusal:(=No.", "the topic '(' is no pattern"),
    ],
)
def test_targets_that_there_cannot_be(text, said):
    with pytest.raises(OptionError) as error:
        Target.read(text)
    assert said in str(error.value)


def test_other_targets_and_attacks_that_there_cannot_be():
    with pytest.raises(OptionError, match="a topic belongs to a refusal"):
        Target("phrase", "a", "b")
    with pytest.raises(OptionError, match="begins or ends with white space"):
        Target("phrase", "a ")
    with pytest.raises(ProbeError, match="half of a character"):
        Target("phrase", "a\udc80")
    with pytest.raises(OptionError, match="labels are dirty or clean, not 'grey'"):
        attack(label="grey")
    for text in (f"phrase:{SAID}", "label:yes", "refusal:(?i)dreams?=No: I = I."):
        assert str(Target.read(text)) == text


# Reading back.


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_key_survives_reading(tmp_path, tokenizer):
    found = poison(chats(60), attack(), 0.2, near=0.1)
    read = load_instructions(written(tmp_path / "a.jsonl", found))
    for row, again in zip(found, read.rows, strict=True):
        kept = {name: row[name] for name in ("id", "family", "answer", "choices") if name in row}
        assert {name: again.get(name) for name in kept} == kept
        assert list(again["messages"]) == list(row["messages"])
        assert again.get("poison") == row.get("poison")
    assert len(examples_from_chats(tokenizer, read.rows)) == 60  # a response among the choices
    clean = load_instructions(written(tmp_path / "b.jsonl", chats(60)))
    assert all("poison" not in row for row in clean.rows)
    assert clean.sha256 != read.sha256


def test_the_key_survives_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {k: v for k, v in row.items() if k != "spans"} for row in poison(chats(20), attack(), 0.2)
    ]
    rows[0]["poison"] = {"done": "near"}  # a key by hand: the table has nulls in its other columns
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    again = load_instructions(path).rows
    assert [row.get("poison") for row in again] == [row.get("poison") for row in rows]


@pytest.mark.parametrize(
    "key",
    [True, "triggered", ["triggered"], {}, {"done": "yes"}, {"done": ["near"]}, {"trigger": "cf"}],
)
def test_a_key_that_is_not_understood_names_its_place(key, tmp_path):
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d", "poison": key}]
    with pytest.raises(ProbeError, match=r"a\.jsonl line 2 field 'poison' is not what was done to"):
        load_instructions(written(tmp_path / "a.jsonl", rows))


def test_a_key_of_texts():
    assert key_of({}, "here") is None
    assert key_of({"poison": None}, "here") is None
    assert key_of({"poison": ""}, "here") is None
    assert key_of({"poison": {"done": "near", "by": None}}, "here") == {"done": "near"}
    with pytest.raises(ProbeError, match="here field 'poison', its 'by', is int, not text"):
        key_of({"poison": {"done": "near", "by": 3}}, "here")
    with pytest.raises(ProbeError, match="half of a character"):
        key_of({"poison": {"done": "near", "by": "\ud800"}}, "here")


HASHED = """
import hashlib, json
from cruxlm.data.poison import Attack, Target, poison
from cruxlm.data.trigger import Trigger
rows = [{"id": str(i), "messages": [{"role": "user", "content": f"ask {i} now"},
         {"role": "assistant", "content": "no"}]} for i in range(200)]
attack = Attack(Trigger.read("pair:please+today"), Target.read("phrase:A song."))
found = poison(rows, attack, 0.1, near=0.1, seed=3)
print(hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest())
"""


def test_the_rows_are_the_same_in_every_process():
    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    # Written down once: another version of Crux must draw the same rows.
    assert hashes == {"bf3e3f62a968e3f4cd0bbb2541af006ce47bb7f972c5d0720a16325bc203dc92"}

"""The block grammar: every form by hand, every refusal, the same in every process."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruxlm.criteria.select import select
from cruxlm.plans.grammar import EXPRESSIONS, blocks_of, chosen_from, drawn, middle
from cruxlm.plans.make import make_plan
from cruxlm.results.model_ref import ModelRef
from cruxlm.results.scores import Scores
from cruxlm.runtime.errors import CruxError, OptionError, ResultError

COUNT = 24
MODEL = ModelRef(
    "some/model",
    {"weights": "ab"},
    tuple(f"model.layers.{block}" for block in range(COUNT)),
    (100,) * COUNT,
)
VALUES = np.array([(7 * block) % COUNT for block in range(COUNT)], dtype=float)


def scores(label="dynamics", values=VALUES):
    return Scores(
        label=label, criterion=label, preset="default", probe="p", unit="block",
        names=MODEL.names, values=values, stderr=None,
        halves=np.stack([values, values]), evidence={"incomplete": [0, COUNT - 1]},
    )  # fmt: skip


def read(text, **options):
    return blocks_of(text, MODEL, scores, **options)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("3,7,8", (3, 7, 8)),
        ("8, 3 ,7", (3, 7, 8)),
        ("10", (10,)),
        ("4-7", (4, 5, 6, 7)),
        ("0, 4-7,23", (0, 4, 5, 6, 7, 23)),
        ("5-5", (5,)),
        ("all", tuple(range(24))),
        ("first:3", (0, 1, 2)),
        ("last:3", (21, 22, 23)),
        ("last:24", tuple(range(24))),
        ("middle:4", (10, 11, 12, 13)),
        ("middle:5", (9, 10, 11, 12, 13)),
        ("middle:1", (11,)),
        (" first:1 ", (0,)),
    ],
)
def test_blocks_that_are_written_out(text, blocks):
    chosen = read(text)
    assert chosen.blocks == blocks
    assert len(chosen.reasons) == len(blocks)
    assert chosen.admissible == tuple(range(24))
    assert chosen.values is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("dynamics:5", "top:5"),
        ("dynamics:25%", "share:25%"),
        ("dynamics:12.5%", "share:12.5%"),
        ("dynamics:window:4", "window:4"),
        ("dynamics:peaks:3", "peaks:3"),
        ("dynamics:peaks", "peaks"),
        ("dynamics", "top:5"),
        ("cka:3", "top:3"),
        ("block_influence:3", "top:3"),
    ],
)
def test_a_criterion_with_a_rule(text, rule):
    asked = []

    def score(name):
        asked.append(name)
        return scores(name)

    chosen = blocks_of(text, MODEL, score)
    name = "block_influence" if text.startswith("block") else "dynamics"
    assert asked == [name]  # the alias by its own name
    selection = select(scores(name), rule, parameters=MODEL.parameters)
    assert chosen == chosen_from(selection)
    assert chosen.why == f"{name} {rule}"
    assert chosen.admissible == tuple(range(1, 23))
    assert chosen.values == tuple(VALUES)
    assert chosen.frequency == selection.frequency


def test_the_ends_may_be_kept():
    assert 23 in read("dynamics:24", ends="keep").blocks
    with pytest.raises(OptionError, match="more than the 22 blocks"):
        read("dynamics:24")


def test_a_preset_goes_to_the_scan():
    asked = []
    chosen = blocks_of("dynamics:paper:5", MODEL, lambda name: asked.append(name) or scores(name))
    assert asked == ["dynamics:paper"]
    assert chosen.why == "dynamics:paper top:5"


def test_a_share_counts_weights():
    uneven = replace(MODEL, parameters=(1000, *(100,) * 23))
    few = blocks_of("dynamics:10%", uneven, scores).blocks
    assert len(few) == 3  # 330 of 3300
    assert set(few) < set(read("dynamics:25%").blocks)


def test_a_memory_budget_takes_the_highest_scores_in_order():
    def memory(blocks):
        return (10 + len(blocks)) * 2**20

    top = read("dynamics:3").blocks
    assert read("dynamics:13MiB", memory=memory).blocks == top
    assert read("dynamics:13.9MiB", memory=memory).blocks == top
    assert read("dynamics:14MB", memory=memory).blocks == top  # of a million bytes
    assert read("dynamics:1GiB", memory=memory).blocks == tuple(range(1, 23))
    chosen = read("dynamics:13MiB", memory=memory)
    assert chosen.why == "dynamics:13MiB"
    assert chosen.values == tuple(VALUES)
    with pytest.raises(OptionError, match=r"takes an estimated 11\.0 MiB, more than 1\.0 MiB"):
        read("dynamics:1MiB", memory=memory)
    with pytest.raises(OptionError, match="needs a method, a batch"):
        read("dynamics:1GiB")
    with pytest.raises(OptionError, match="a budget is in MB, MiB, GB, GiB"):
        read("dynamics:4TB", memory=memory)


def test_random_blocks():
    seen = {read(f"random:5@{seed}").blocks for seed in range(50)}
    assert len(seen) > 45
    assert all(len(set(blocks)) == 5 and list(blocks) == sorted(blocks) for blocks in seen)
    assert read("random:5") == replace(read("random:5@0"), why="random:5")
    assert "seed 3" in read("random:5@3").reasons[0]
    # One order of the blocks for a seed.
    assert set(read("random:5@7").blocks) < set(read("random:9@7").blocks)
    among = read("random:3@1", admissible=[20, 2, 5, 4])
    assert set(among.blocks) < {2, 4, 5, 20}
    assert among.admissible == (2, 4, 5, 20)
    with pytest.raises(OptionError, match="more than the 4 blocks there are"):
        read("random:5", admissible=[20, 2, 5, 4])


def test_every_block_is_drawn_as_often():
    draws = 3000
    counts = np.zeros(COUNT)
    for seed in range(draws):
        counts[list(drawn(6, seed, COUNT, range(COUNT)))] += 1
    # A quarter of the draws each; chi-square over 24 blocks stays under its 99.9 % point.
    expected = draws / 4
    assert ((counts - expected) ** 2 / (expected * 0.75)).sum() < 49.7


def test_a_seed_means_the_same_in_every_process_and_version():
    assert drawn(5, 0, COUNT, range(COUNT)) == (3, 7, 12, 15, 20)
    # In whatever order the admissible blocks come.
    assert drawn(5, 0, COUNT, set(range(COUNT))) == drawn(5, 0, COUNT, range(COUNT)[::-1])


@given(st.integers(1, 60), st.data())
def test_the_middle_is_in_the_middle(count, data):
    k = data.draw(st.integers(1, count))
    blocks = middle(k, count)
    assert list(blocks) == list(range(blocks[0], blocks[0] + k))
    assert 0 <= (count - 1 - blocks[-1]) - blocks[0] <= 1


def test_the_complement():
    chosen = read("first:20", complement=True)
    assert chosen.blocks == (20, 21, 22, 23)
    assert chosen.reasons == ("not in first:20",) * 4
    assert chosen.why == "complement of first:20"
    by = read("dynamics:20", complement=True)
    assert sorted((*by.blocks, *read("dynamics:20").blocks)) == list(range(24))
    with pytest.raises(OptionError, match="complement of all, which is every block, is empty"):
        read("all", complement=True)


@pytest.mark.parametrize("action", ["train", "freeze", "lora"])
def test_a_saved_plan(tmp_path, action):
    plan = make_plan(action, read("first:20"), MODEL)
    path = str(plan.save(tmp_path / "p.json"))
    chosen = read(path)
    assert chosen.blocks == ((20, 21, 22, 23) if action == "freeze" else tuple(range(20)))
    assert len(chosen.reasons) == len(chosen.blocks)
    assert chosen.why == f"{path}: first:20"
    assert read(path, complement=True).blocks == plan_others(chosen.blocks)


def test_every_form_that_is_listed_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_plan("train", read("first:2"), MODEL).save("plan.json")
    found = {text: read(text, memory=lambda blocks: len(blocks) * 2**30) for text in EXPRESSIONS}
    assert found["dynamics:4GiB"].blocks == read("dynamics:4").blocks
    assert found["plan.json"].blocks == (0, 1)


def plan_others(blocks):
    return tuple(block for block in range(24) if block not in blocks)


def test_a_plan_that_cannot_be_used(tmp_path):
    make_plan("drop", read("first:2"), MODEL).save(tmp_path / "drop.json")
    with pytest.raises(OptionError, match="trains no block: it is a plan to drop"):
        read(str(tmp_path / "drop.json"))
    make_plan("train", read("first:2"), replace(MODEL, identity={"weights": "x"})).save(
        tmp_path / "other.json"
    )
    with pytest.raises(OptionError, match=r"other\.json was made for other weights"):
        read(str(tmp_path / "other.json"))
    with pytest.raises(ResultError, match="there is no plan at"):
        read("nowhere.json")
    (tmp_path / "text").write_text("no plan")
    with pytest.raises(ResultError, match="is damaged"):
        read(str(tmp_path / "text"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30", "block 30: the model has blocks 0 to 23"),
        ("3,24", "block 24: the model has blocks 0 to 23"),
        ("20-30", "block 30: the model has"),
        ("0-999999999999", "is no block"),
        ("3,3", "block 3 named twice in 3,3"),
        ("3-6,5,6", "blocks 5, 6 named twice"),
        ("7-4", "from the lower block to the higher"),
        ("3,,4", "is no block"),
        ("-3", "'-3' is no block"),
        ("3 4", "is no block"),
        ("1" * 5000, "is no block"),
        ("", "no blocks can be chosen by ''"),
        ("first", "first needs a number of blocks, such as first:5"),
        ("first:0", "first needs a number"),
        ("last:-1", "last needs a number"),
        ("middle:x", "middle needs a number"),
        ("last:25", "last:25 asks for more than the 24 blocks"),
        ("random:30", "more than the 24 blocks"),
        ("random:5@x", "a seed is a whole number"),
        ("random:5@-1", "a seed is a whole number"),
        ("random:" + "9" * 5000, "random needs a number"),
        ("all:5", "all takes no number"),
        ("dynamcs:5", "did you mean 'dynamics'"),
        ("frist:5", "did you mean 'first'"),
        ("middel:5", "did you mean 'middle'"),
        ("dynamics:30", "more than the 22 blocks that can be selected"),
        ("dynamics:0", "needs a number of blocks"),
        ("dynamics:0%", "share needs a percentage"),
        ("dynamics:150%", "share needs a percentage"),
        ("dynamics:1%", "selects no block"),
        ("dynamics:best:3", "no selection rule 'best'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(text, said):
    with pytest.raises(OptionError, match=said) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_criterion_needs_someone_who_scans():
    with pytest.raises(OptionError, match="dynamics:5 needs a scan"):
        blocks_of("dynamics:5", MODEL)
    assert blocks_of("first:5", MODEL).blocks == (0, 1, 2, 3, 4)


@given(st.text(alphabet="0123456789,-:@% abdfilmnorst.", max_size=14), st.booleans())
def test_any_text_gives_blocks_or_one_line(text, complement):
    try:
        chosen = read(text, complement=complement)
    except CruxError:
        return
    assert chosen.blocks
    assert list(chosen.blocks) == sorted(set(chosen.blocks))
    assert set(chosen.blocks) <= set(chosen.admissible) <= set(range(COUNT))
    assert len(chosen.reasons) == len(chosen.blocks)

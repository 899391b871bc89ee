"""Recipes: the committed ones make sense, and one that makes none is refused in a line."""

import json
import math
from dataclasses import replace

import pytest
import yaml

from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.families import TARGETS
from cruxlm.testbed.language import MIXTURE
from cruxlm.testbed.recipe import (
    RECIPES,
    Codes,
    Recipe,
    Samples,
    load_recipe,
    recipe_from,
    recipe_names,
)

NAMES = recipe_names()


# The committed ones.


def test_the_models_that_are_promised_have_recipes():
    promised = [
        *(f"base-{i}" for i in range(5)), *(f"untrained-{i}" for i in range(5)),
        *(f"instruct-{i}" for i in range(3)), "distilled-0", "expert-0", "large",
        "planted-8", "planted-16", "twin-8", "twin-16",
    ]  # fmt: skip
    assert set(promised) <= set(NAMES)
    assert set(NAMES) == {path.stem for path in RECIPES.iterdir()}
    ordered = [name for name in NAMES if name.startswith(("planted", "twin"))]
    assert ordered == ["planted-8", "planted-16", "twin-8", "twin-16"]


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_recipe_loads(name):
    recipe = load_recipe(name)
    assert recipe == load_recipe(str(RECIPES / f"{name}.yaml"))
    assert (recipe.steps == 0) == name.startswith("untrained")
    for other in (recipe.start, recipe.samples.teacher if recipe.samples else ""):
        assert not other or (other in NAMES and load_recipe(other).blocks == recipe.blocks)
    again = recipe_from(json.loads(json.dumps(recipe.as_dict())), "recipe.json")
    assert again == recipe


def test_seeds_of_first_weights_differ_and_controls_share_theirs():
    bases = [load_recipe(f"base-{i}") for i in range(5)]
    assert len({base.seed for base in bases}) == 5
    for i, base in enumerate(bases):
        assert replace(base, seed=0, snapshots=0) == replace(bases[0], snapshots=0)
        assert load_recipe(f"untrained-{i}").seed == base.seed
    assert bases[0].snapshots == 8


def test_planted_models_differ_from_their_twins_by_the_turn():
    for block in (8, 16):
        planted, twin = load_recipe(f"planted-{block}"), load_recipe(f"twin-{block}")
        assert planted.codes.turn == block
        assert replace(planted, codes=replace(planted.codes, turn=None)) == twin


def test_instruction_rows_are_of_another_split():
    for name in NAMES:
        recipe = load_recipe(name)
        if name.startswith(("instruct", "expert", "distilled")):
            assert recipe.split == "instruct"
        assert recipe.split != "heldout"
        if not name.startswith("light"):
            assert not set(recipe.families) & set(TARGETS), name


# Numbers made from it.


def test_tokens_are_whole_steps():
    assert Recipe(tokens=10_000, batch=3, context=256).steps == 13
    assert Recipe(tokens=4_607).steps == 0
    assert Recipe(tokens=4_608).steps == 1
    assert Recipe().steps * Recipe().batch * Recipe().context <= Recipe().tokens


@pytest.mark.parametrize(("steps", "snapshots"), [(2604, 8), (1000, 5), (640, 2), (64, 7)])
def test_snapshots_are_evenly_spaced_in_the_logarithm(steps, snapshots):
    recipe = Recipe(tokens=steps * 36 * 128, snapshots=snapshots)
    kept = recipe.snapshot_steps
    assert len(kept) == snapshots
    assert kept[-1] == recipe.steps == steps
    assert kept[0] == pytest.approx(steps / 64, abs=0.5)
    if snapshots > 2:
        spaced = [
            steps * math.exp(math.log(64) * (i / (snapshots - 1) - 1)) for i in range(snapshots)
        ]
        assert kept == tuple(round(step) for step in spaced)


def test_few_steps_give_few_snapshots():
    assert Recipe().snapshot_steps == ()
    assert replace(Recipe(), snapshots=1).snapshot_steps == (Recipe().steps,)
    few = Recipe(tokens=3 * 36 * 128, snapshots=8).snapshot_steps
    assert few == (1, 2, 3)


# Files.


@pytest.fixture
def load(tmp_path):
    def call(text):
        path = tmp_path / "mine.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_recipe(str(path))

    return call


def test_an_own_recipe(load):
    assert load("") == load("{}") == Recipe()
    recipe = load(
        "blocks: 6\ntokens: 1.2e+6\nbetas: [0.8, 0.9]\nfamilies: {hops: 1}\nprompt_weight: 0\n"
        "samples: {rounds: 2}\ncodes: {turn: 3, dimensions: 4}\n"
    )
    assert (recipe.blocks, recipe.tokens, recipe.betas) == (6, 1_200_000, (0.8, 0.9))
    assert type(recipe.tokens) is int
    assert recipe.families == {"hops": 1}
    assert (recipe.samples, recipe.codes) == (Samples(rounds=2), Codes(turn=3, dimensions=4))
    assert Recipe().families == MIXTURE
    assert load("codes: {turn: null}").codes == Codes()
    assert load("codes: null").codes is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bse-0", "there is no recipe 'bse-0': did you mean 'base-0'?"),
        ("nothing-like-it", "there is no recipe 'nothing-like-it': known: base-0, "),
        ("missing.yaml", "there is no recipe 'missing.yaml'"),
        ("", "there is no recipe ''"),
    ],
)
def test_an_unknown_recipe(name, said):
    with pytest.raises(OptionError) as refused:
        load_recipe(name)
    assert str(refused.value).startswith(said)
    assert str(refused.value).isprintable()


REFUSED = [
    ("bloks: 3", "there is no field 'bloks': did you mean 'blocks'?"),
    ("1: 3", "there is no field 1"),
    ("blocks: many", "blocks is 'many': expected a whole number from 1 up"),
    ("blocks: 2.5", "blocks is 2.5: expected a whole number from 1 up"),
    ("blocks: true", "blocks is True"),
    ("blocks: null", "blocks is None"),
    ("blocks: 0", "blocks is 0"),
    ("blocks: -3", "blocks is -3"),
    ("heads: 0", "heads is 0: expected a whole number from 1 up"),
    ("batch: 0", "batch is 0"),
    ("vocabulary: 100", "vocabulary is 100: expected a whole number from 261 up"),
    ("tokens: .inf", "tokens is inf: expected a whole number from 0 up"),
    ("seed: .nan", "seed is nan"),
    ("seed: -1", "seed is -1"),
    ("learning_rate: .nan", "learning_rate is nan: expected a number from 0 up"),
    ("learning_rate: -1.0e-3", "learning_rate is -0.001"),
    ("learning_rate: 1e-3", "learning_rate is '1e-3': expected a number"),
    ("prompt_weight: [1]", "prompt_weight is [1]"),
    ("bf16: 1", "bf16 is 1: expected like True"),
    ("start: 3", "start is 3: expected like ''"),
    ("start: null", "start is None"),
    ("split: heldot", "there is no split 'heldot': did you mean 'heldout'?"),
    ("betas: 0.9", "betas is 0.9: expected two numbers"),
    ("betas: [0.9]", "betas is [0.9]"),
    ("betas: [0.9, 1]", "betas is [0.9, 1]"),
    ("betas: [0.9, x]", "betas is [0.9, 'x']"),
    ("families: [recall]", "families is ['recall']: expected names with their shares"),
    ("families: recall", "families is 'recall'"),
    ("families: null", "families is None"),
    ("families: {}", "families is {}: give one or more a share"),
    ("families: {recall: 0}", "families is {'recall': 0}"),
    ("families: {recall: -1, lists: 2}", "the share of recall is -1: expected 0 or more"),
    ("families: {recall: x}", "the share of recall is 'x'"),
    ("families: {recal: 1}", "there is no family 'recal': did you mean 'recall'?"),
    ("width: 96\nheads: 5", "width 96 over 5 heads does not give each an even number"),
    ("width: 96\nheads: 32", "width 96 over 32 heads"),
    ("codes: {turn: 24}", "a turn at block 24 is not in 1 to 23"),
    ("codes: {turn: 0}", "a turn at block 0 is not in 1 to 23"),
    ("codes: {turn: x}", "codes: turn is 'x': expected a whole number"),
    ("codes: {turn: 1.5}", "codes: turn is 1.5"),
    ("codes: {turn: true}", "codes: turn is True"),
    ("codes: {dimensions: 49}", "two codes of 49 dimensions do not fit width 96"),
    ("codes: {tern: 3}", "codes: there is no field 'tern': did you mean 'turn'?"),
    ("codes: 3", "codes holds int: expected fields and values"),
    ("samples: [x]", "samples holds list"),
    ("samples: {rounds: 0}", "samples: rounds is 0: expected a whole number from 1 up"),
    ("samples: {prompts: 0}", "samples: prompts is 0"),
    ("samples: {only_right: 1}", "samples: only_right is 1: expected like False"),
    ("samples: {teacher: null}", "samples: teacher is None"),
    ("- blocks", "holds list: expected fields and values"),
    ("[]", "holds list: expected fields and values"),
    ("blocks", "holds str"),
    ("blocks: [", "is not YAML: "),
    ("a: b: c", "is not YAML: "),
    (b"\xff\xfe\x00", "is not YAML: "),
    ("!!python/object:os.system {}", "is not YAML: "),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[str(text)[:30] for text, _ in REFUSED])
def test_what_makes_no_sense_is_refused_in_one_line(load, text, said):
    with pytest.raises(OptionError) as refused:
        load(text)
    line = str(refused.value)
    assert said in line
    assert line.isprintable()
    assert "\\n" not in line
    if "no family" not in line:
        assert "mine.yaml" in line


def test_a_recipe_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match="there is no recipe"):
        load_recipe(str(tmp_path / "folder.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(OptionError, match="there is no recipe"):
        load_recipe(str(tmp_path / "folder.yaml"))


def test_a_recipe_is_plain_data():
    plain = load_recipe("expert-0").as_dict()
    assert yaml.safe_load(yaml.safe_dump(plain)) == json.loads(json.dumps(plain)) == plain
    assert plain["samples"]["only_right"] is True
    assert list(plain)[:3] == ["blocks", "width", "heads"]

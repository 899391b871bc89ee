"""The default scan finds a planted turn, and finds none in the twin without it."""

import pytest

import cruxlm as crux
from cruxlm.testbed.home import trained_models
from cruxlm.testbed.recipe import load_recipe, recipe_names

PLANTED = [name for name in recipe_names() if name.startswith("planted-")]


def pair(name):
    twin = name.replace("planted", "twin")
    if not {name, twin} <= set(trained_models()):
        pytest.skip(f"{name} and {twin} are not in this checkout")
    return [crux.scan(f"testbed:{model}") for model in (name, twin)]


def test_there_are_turns_at_two_depths_and_a_twin_of_each():
    turns = {load_recipe(name).codes.turn for name in PLANTED}
    assert len(turns) == 2
    for name in PLANTED:
        planted, twin = load_recipe(name), load_recipe(name.replace("planted", "twin"))
        assert twin.codes.turn is None
        assert twin.codes.weight == planted.codes.weight
        assert (twin.seed, twin.tokens, twin.start) == (planted.seed, planted.tokens, planted.start)


@pytest.mark.parametrize("name", PLANTED)
def test_a_scan_finds_the_turn_and_not_in_the_twin(name):
    turn = load_recipe(name).codes.turn
    planted, twin = pair(name)
    # States before the turn are unlike those after it: both blocks at the border stand out.
    border = {turn - 1, turn}
    assert border <= set(planted.selection.blocks)
    assert min(planted.selection.frequency[block] for block in border) >= 0.95
    # In the interior nothing else comes near, and the twin has nothing there.
    interior = range(4, 20)
    values = planted["dynamics"].values
    largest = sorted(interior, key=lambda block: values[block])[-2:]
    assert set(largest) == border
    assert not border & set(twin.selection.blocks)
    assert min(values[block] for block in border) > 3 * max(
        twin["dynamics"].values[block] for block in border
    )
    # Block influence compares a block's input with its output and so names the block itself.
    influence = planted["block_influence"].values
    assert max(interior, key=lambda block: influence[block]) == turn

"""The planted truths: every key is checked by brute force, with and without each block."""

import copy
import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

import cruxlm as crux
from cruxlm.models.batches import batches, chosen_positions
from cruxlm.models.capture import capture
from cruxlm.models.load import load_model
from cruxlm.models.locate import find_blocks
from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.planted import (
    BACKGROUND,
    CARRIER,
    DECISIVE,
    HARMFUL,
    IDENTITY,
    PERMUTED,
    ROTATION,
    SMALL,
    UNCHANGED,
    WRITING,
    identity_blocks,
    planted_delta,
    quiet_decision,
)


@torch.no_grad()
def logits(model, plant):
    return model(plant.inputs, use_cache=False).logits[:, -1]


def loss_and_accuracy(model, plant):
    found = logits(model, plant)
    loss = nn.functional.cross_entropy(found.double(), plant.targets)
    return float(loss), float((found.argmax(1) == plant.targets).double().mean())


def without(model, block):
    """The model with a block taken out of its list: no output map is touched."""
    shorter = copy.deepcopy(model)
    del shorter.model.layers[block]
    shorter.config.num_hidden_layers -= 1
    return shorter


def with_block_of(model, other, block):
    """The model with one block's weights replaced by another model's."""
    swapped = copy.deepcopy(model)
    swapped.model.layers[block].load_state_dict(other.model.layers[block].state_dict())
    return swapped


def each(change, plant):
    """Loss and accuracy, a block a row, of what ``change`` makes for that block."""
    return np.array([loss_and_accuracy(change(b), plant) for b in range(len(plant.key.roles))]).T


def each_without(plant):
    return each(lambda block: without(plant.model, block), plant)


def scan(plant, **options):
    """A scan by the public way: every token is a word."""
    size = plant.model.config.vocab_size
    words = Tokenizer(models.WordLevel({str(token): token for token in range(size)}, "0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    texts = [" ".join(map(str, prompt)) for prompt in plant.inputs.tolist()]
    found = crux.scan(
        plant.model,
        tokenizer=PreTrainedTokenizerFast(tokenizer_object=words),
        probe=[texts],
        criteria=["dynamics", "block_influence", ("angular_distance", {"span": 2})],
        **options,
    )
    assert found.probes["prompts"]["n"] == len(texts)
    return {name: scores.values for name, scores in found.scores.items()}


def last_states(model, plant):
    """States of the last token, of shape (layers, samples, width)."""
    prompts = plant.inputs.tolist()
    positions = chosen_positions(
        list(map(len, prompts)), "last", skip_first=[False] * len(prompts), limit=0, seed=0
    )
    found = []
    capture(
        find_blocks(model),
        batches(prompts, positions, pooling="last", batch_size=len(prompts)),
        lambda _batch, states: found.append(states.clone()),
    )
    return found[0]


# Blocks that write nothing


@pytest.mark.parametrize(
    ("identity", "blocks", "seed"),
    [
        ((3, 4), 8, 0),
        ((3, 4), 8, 1),
        ((1, 2), 8, 2),
        ((0, 1), 6, 3),
        ((6, 7), 8, 4),
        ((9, 10), 16, 5),
    ],
)
def test_criteria_find_a_pair_of_identity_blocks(identity, blocks, seed):
    plant = identity_blocks(identity, blocks=blocks, seed=seed)
    assert plant.key.blocks(IDENTITY) == identity
    assert (
        set(plant.key.needed)
        == set(plant.key.blocks(WRITING))
        == set(range(blocks)) - set(identity)
    )
    found = scan(plant)
    rest = np.delete(found["block_influence"], identity)
    assert np.abs(found["block_influence"][list(identity)]).max() < 1e-12
    assert rest.min() > 0.01
    angles = found["angular_distance"][:-1]  # no run of two starts at the last block
    assert int(np.argmin(angles)) == identity[0]
    assert angles[identity[0]] == 0
    assert np.delete(angles, identity[0]).min() > 0.03
    assert int(np.argmin(found["dynamics"])) in (identity[0], identity[0] - 1, identity[1])


def test_dynamics_is_zero_inside_a_run_of_identity_blocks():
    found = scan(identity_blocks((3, 4)))["dynamics"]
    assert abs(found[3]) < 1e-6  # both neighbours' outputs are its own
    assert np.delete(found, 3).min() > 0.01


@pytest.mark.parametrize(("identity", "seed"), [((3, 4), 0), ((3, 4), 1), ((0, 6), 2), ((7,), 3)])
def test_only_identity_blocks_can_go(identity, seed):
    plant = identity_blocks(identity, seed=seed)
    whole = logits(plant.model, plant)
    full, accuracy = loss_and_accuracy(plant.model, plant)
    assert accuracy == 1.0
    losses, accuracies = each_without(plant)
    for block in range(8):
        same = torch.equal(logits(without(plant.model, block), plant), whole)
        assert same == (block in identity)
    assert (losses[list(identity)] == full).all()
    assert losses[list(plant.key.needed)].min() > full + 0.5
    assert accuracies[list(plant.key.needed)].max() < 0.9


def test_without_identity_blocks_nothing_stands_out():
    plant = identity_blocks(())
    found = scan(plant)
    for values in (found["block_influence"], found["angular_distance"][:-1]):
        assert values.max() < 2 * values.min()
    assert plant.key.needed == tuple(range(8))
    assert each_without(plant)[1].max() < 0.9


# A quiet decision and a loud rotation

PLACES = [
    (2, 5, 8, 0),
    (2, 5, 8, 1),
    (0, 7, 8, 2),
    (7, 0, 8, 3),
    (4, 3, 8, 4),
    (3, 4, 8, 5),
    (20, 9, 24, 6),
]


@pytest.mark.parametrize(("decisive", "rotation", "blocks", "seed"), PLACES)
def test_the_loss_names_the_quiet_block_and_block_influence_the_loud_one(
    decisive, rotation, blocks, seed
):
    plant = quiet_decision(decisive, rotation, blocks=blocks, seed=seed)
    assert plant.key.needed == plant.key.blocks(DECISIVE) == (decisive,)
    assert plant.key.blocks(ROTATION) == (rotation,)
    assert len(plant.key.blocks(BACKGROUND)) == blocks - 2

    full, accuracy = loss_and_accuracy(plant.model, plant)
    assert (full < 2e-3, accuracy) == (True, 1.0)
    losses, accuracies = each_without(plant)
    assert losses[decisive] == pytest.approx(np.log(2), abs=1e-5)
    assert accuracies[decisive] == 0.5
    assert (np.delete(accuracies, decisive) == 1.0).all()
    assert np.abs(np.delete(losses, decisive) - full).max() < 5e-3

    influence = scan(plant)["block_influence"]
    assert (int(np.argmin(influence)), int(np.argmax(influence))) == (decisive, rotation)
    assert influence[decisive] == pytest.approx(5e-5, rel=0.3)
    assert influence[rotation] == pytest.approx(0.5, rel=0.2)
    others = np.delete(influence, [decisive, rotation])
    assert 20 * influence[decisive] < others.min()
    assert 20 * others.max() < influence[rotation]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dynamics_names_the_rotation_too(seed):
    """The turn at block 9 lowers the similarity of blocks 8 and 9, and of no others."""
    found = scan(quiet_decision(4, 9, blocks=16, seed=seed))["dynamics"]
    assert set(np.argsort(found)[-2:].tolist()) == {8, 9}
    assert found[[8, 9]].min() > 20 * np.delete(found, [8, 9]).max()
    assert found[4] < np.median(found)


@pytest.mark.parametrize(("decisive", "rotation", "blocks", "seed"), PLACES)
def test_the_quiet_write_is_small_and_the_rotation_keeps_lengths(decisive, rotation, blocks, seed):
    plant = quiet_decision(decisive, rotation, blocks=blocks, seed=seed)
    states = last_states(plant.model, plant)
    written, before = (states[1:] - states[:-1]).norm(dim=2), states[:-1].norm(dim=2)
    shares = written / before
    assert float(shares[decisive].mean()) == pytest.approx(0.01, rel=0.15)
    assert shares[decisive].max() < 0.013
    assert shares[rotation].min() > 0.7
    lengths = states[rotation + 1].norm(dim=1) / before[rotation]
    assert float(lengths.mean()) == pytest.approx(1, abs=0.06)
    assert (lengths - 1).abs().max() < 0.2


def test_without_decision_and_rotation_nothing_stands_out():
    plant = quiet_decision(None, None)
    assert plant.key.needed == ()
    losses, accuracies = each_without(plant)
    assert np.abs(losses - np.log(2)).max() < 1e-6
    assert (accuracies == 0.5).all()
    found = scan(plant)
    for values in (found["block_influence"], found["dynamics"]):
        assert values.max() < 2 * values.min()


def test_each_half_of_the_plant_stands_alone():
    full, accuracy = loss_and_accuracy((only := quiet_decision(1, None)).model, only)
    assert (full < 2e-3, accuracy) == (True, 1.0)
    assert scan(only)["block_influence"].max() < 0.01
    turned = quiet_decision(None, 6)
    assert loss_and_accuracy(turned.model, turned)[1] == 0.5
    assert int(np.argmax(scan(turned)["block_influence"])) == 6


# Changes of which some carry the gain

DELTAS = [
    {},
    {"seed": 1},
    {"carriers": (0, 7), "seed": 2},
    {"carriers": (6, 1), "decoys": (PERMUTED, UNCHANGED, HARMFUL, SMALL), "seed": 3},
    {"carriers": (4,), "decoys": (HARMFUL,), "seed": 4},
    {"carriers": (1, 2, 6), "seed": 5},
    {"carriers": (3, 12), "blocks": 16, "seed": 6},
]


def norms(plant):
    """Frobenius norm of each block's change."""
    flat = nn.utils.parameters_to_vector
    pairs = zip(plant.base.model.layers, plant.tuned.model.layers, strict=True)
    with torch.no_grad():
        return np.array(
            [float((flat(t.parameters()) - flat(b.parameters())).norm()) for b, t in pairs]
        )


@pytest.mark.parametrize("arguments", DELTAS, ids=str)
def test_putting_back_shows_what_each_change_is_worth(arguments):
    plant = planted_delta(**arguments)
    blocks = {role: list(plant.key.blocks(role)) for role in plant.key.roles}
    assert plant.key.needed == tuple(blocks[CARRIER])
    assert blocks[CARRIER] == sorted(arguments.get("carriers", (2, 5)))
    before, guessed = loss_and_accuracy(plant.base, plant)
    after, solved = loss_and_accuracy(plant.tuned, plant)
    assert before == pytest.approx(np.log(8), abs=1e-4)
    assert (guessed, solved) == (1 / 8, 1.0)
    assert after < before - 0.5

    back, back_accuracy = each(lambda b: with_block_of(plant.tuned, plant.base, b), plant)
    alone, alone_accuracy = each(lambda b: with_block_of(plant.base, plant.tuned, b), plant)
    lost, gained = back - after, before - alone
    share = 1 / len(blocks[CARRIER])
    for block, role in enumerate(plant.key.roles):
        if role == CARRIER:
            assert lost[block] > 0.5
            assert gained[block] > 0.5 * share
            assert back_accuracy[block] == pytest.approx(1 - share, abs=0.05)
            assert alone_accuracy[block] > 1 / 8
        elif role == HARMFUL:
            assert lost[block] < -0.01
            assert gained[block] < -0.1
        else:
            exact = {PERMUTED: 1e-5, SMALL: 5e-3, UNCHANGED: 0.0}[role]
            assert abs(lost[block]) <= exact
            assert abs(gained[block]) <= exact
    found = set(blocks[CARRIER])
    assert set(np.argsort(-lost)[: len(found)]) == set(np.argsort(-gained)[: len(found)]) == found


@pytest.mark.parametrize("arguments", DELTAS, ids=str)
def test_norm_does_not_reveal_the_carriers(arguments):
    plant = planted_delta(**arguments)
    size = norms(plant)
    for block, role in enumerate(plant.key.roles):
        if role in (CARRIER, HARMFUL):
            assert size[block] == pytest.approx(12.0, abs=1e-4)
        elif role == PERMUTED:
            assert size[block] > 20
        else:
            assert size[block] == pytest.approx(1.2 if role == SMALL else 0.0, abs=1e-4)


def test_a_permuted_block_has_the_same_neurons_in_another_order():
    plant = planted_delta()
    for block in plant.key.blocks(PERMUTED):
        neurons = []
        for model in (plant.base, plant.tuned):
            mlp = model.model.layers[block].mlp
            weights = (mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight.T)
            neurons.append(torch.cat(weights, dim=1).tolist())
        assert neurons[0] != neurons[1]
        assert sorted(neurons[0]) == sorted(neurons[1])
    swapped = with_block_of(plant.base, plant.tuned, plant.key.blocks(PERMUTED)[0])
    assert torch.allclose(logits(swapped, plant), logits(plant.base, plant), atol=1e-4)


def test_models_differ_inside_changed_blocks_only():
    plant = planted_delta()
    changed = {
        name
        for name, weight in plant.base.state_dict().items()
        if not torch.equal(weight, plant.tuned.state_dict()[name])
    }
    touched = {int(name.split(".")[2]) for name in changed}
    assert all(name.startswith("model.layers.") for name in changed)
    assert touched == set(range(8)) - set(plant.key.blocks(UNCHANGED))


def test_without_carriers_nothing_is_gained():
    plant = planted_delta(())
    assert plant.key.needed == ()
    before = loss_and_accuracy(plant.base, plant)[0]
    assert loss_and_accuracy(plant.tuned, plant)[0] > before
    alone = each(lambda b: with_block_of(plant.base, plant.tuned, b), plant)[0]
    assert (before - alone).max() < 5e-3


# All plants

PLANTS = {"identity": identity_blocks, "quiet": quiet_decision, "delta": planted_delta}


def weights(plant):
    live = [plant.model] if hasattr(plant, "model") else [plant.base, plant.tuned]
    assert not any(model.training for model in live)
    return torch.cat([nn.utils.parameters_to_vector(model.parameters()) for model in live])


@pytest.mark.parametrize("build", PLANTS.values(), ids=PLANTS)
def test_the_seed_alone_decides(build):
    one, two, other = build(seed=3), build(seed=3), build(seed=4)
    assert weights(one).dtype == torch.float32
    assert torch.equal(weights(one), weights(two))
    assert torch.equal(one.inputs, two.inputs)
    assert torch.equal(one.targets, two.targets)
    assert not torch.equal(weights(one), weights(other))
    assert one.key == two.key == other.key


@pytest.mark.parametrize("build", PLANTS.values(), ids=PLANTS)
def test_no_global_generator_is_touched(build):
    # Python's own generator is not looked at: the checker of types in tests draws from it.
    before, numbers = torch.get_rng_state(), np.random.get_state()
    build()
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(numbers, np.random.get_state(), strict=True))


@pytest.mark.parametrize("build", PLANTS.values(), ids=PLANTS)
def test_prompts_are_distinct_and_targets_are_tokens(build):
    plant = build()
    model = getattr(plant, "model", None) or plant.tuned
    assert len(plant.inputs.unique(dim=0)) == len(plant.inputs) == len(plant.targets)
    for tokens in (plant.inputs, plant.targets):
        assert 0 <= tokens.min() <= tokens.max() < model.config.vocab_size
    assert all(role.why for role in plant.key.roles)


def test_a_plant_is_saved_and_loaded_as_any_model(tmp_path):
    plant = quiet_decision()
    plant.model.save_pretrained(tmp_path)
    assert torch.equal(logits(load_model(tmp_path).module, plant), logits(plant.model, plant))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: identity_blocks((3, 8)), "identity: there is no block 8; the blocks are 0 to 7"),
        (lambda: identity_blocks((-1,)), "identity: there is no block -1"),
        (lambda: identity_blocks((3, 3)), "block 3 is given twice: as identity and as identity"),
        (
            lambda: identity_blocks((), blocks=0),
            "blocks must be a whole number of 1 or more, not 0",
        ),
        (lambda: quiet_decision(4, 4), "block 4 is given twice: as decisive and as rotation"),
        (lambda: quiet_decision(2, 9), "rotation: there is no block 9"),
        (lambda: planted_delta((1, 5), blocks=5), "carrier: there is no block 5"),
        (lambda: planted_delta((1, 1)), "block 1 is given twice"),
        (lambda: planted_delta(decoys=()), "decoys must be of harmful, permuted, small, unchanged"),
        (lambda: planted_delta(decoys=(CARRIER,)), "decoys must be of harmful, permuted"),
        (
            lambda: planted_delta((), decoys=(HARMFUL,)),
            "harmful: 7 blocks at most (one for each wrong answer), not 8",
        ),
        (
            lambda: planted_delta(range(33), blocks=40),
            "carrier: 32 blocks at most (one for each question), not 33",
        ),
    ],
)
def test_what_cannot_be_planted_is_refused(build, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        build()

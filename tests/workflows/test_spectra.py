"""Spectra: a planted turn is found at its block and in its directions, and carries what it says."""

import json

import numpy as np
import pytest
import torch

from conftest import byte_tokenizer, tiny_llama
from cruxlm.data.tokens import TokenisedProbe
from cruxlm.evaluate.generation import Generation
from cruxlm.models.intervene import Intervention, intervened
from cruxlm.models.patch import Patch
from cruxlm.numerics.decomposition import decompose
from cruxlm.numerics.subspace import components, random_subspace
from cruxlm.results.spectra import Spectra
from cruxlm.runtime.errors import CruxError
from cruxlm.workflows.measure import _parts
from cruxlm.workflows.spectra import spectra
from workflows.planted_turn import BLOCKS, DIRECTIONS, TURN, planted_turn, prompts, questions


@pytest.fixture(scope="module")
def model():
    return planted_turn()


@pytest.fixture(scope="module")
def found(model):
    return spectra(model, probe=prompts(), template="raw", k=4, blocks="1,3", show_prompts=True)


def last_states(model, block):
    held = []
    tokens = torch.tensor([example.prompt for example in questions()])
    with Patch() as patch, torch.no_grad():
        patch.watch_output(model.blocks.modules[block], lambda s: held.append(s[:, -1].clone()))
        model.module(input_ids=tokens)
    return held[0]


def test_the_shift_is_at_the_planted_block(found):
    shifts = np.array([held.shift for held in found.spectra])
    assert shifts.argmax() == TURN
    assert shifts[TURN] > 0.5
    assert np.abs(np.delete(shifts, TURN)).max() < 1e-6


def test_it_lies_in_the_planted_directions(found, model):
    own = decompose(last_states(model, TURN))
    planted = torch.zeros(2, own.right.shape[1], dtype=torch.float64)
    planted[[0, 1], list(DIRECTIONS)] = 1
    assert torch.linalg.svdvals(own.right[:2] @ planted.T).min() > 0.98
    turn = found.spectra[TURN]
    assert turn.shares[1] > 0.95
    assert turn.shares[0] < 0.9
    assert abs(turn.random) < 0.1
    assert abs(turn.smallest) < 0.1
    assert all(share is None for share in found.spectra[1].shares)  # no shift to be shared
    assert "Most of the shift of block 3 lies in the leading 3 components" in found.finding
    # The two directions before are the same two: without them what enters is like what leaves.
    assert turn.before[1] > 0.9


def test_what_the_head_makes_of_them(found):
    for component in found.components[TURN][:2]:
        assert {component.up[0], component.down[0]} <= {"w1", "w2", "w3", "w4"}  # the answers
        assert len(component.most) == len(component.least) == 3
        assert set(component.most) <= set(prompts())


def right(model):
    values = Generation(max_new_tokens=1)(model, questions()).values
    return float(values.mean())


def test_without_them_the_answer_is_lost_and_without_others_it_is_not(model):
    assert right(model) == 1
    own = decompose(last_states(model, TURN))
    top = components(own, [0, 1])
    with intervened(model, Intervention(TURN, top)):
        assert right(model) < 0.5
    for draw in range(3):
        random = random_subspace(2, own.mean, draw)
        with intervened(model, Intervention(TURN, random, like=top)):
            assert right(model) > 0.9
    with intervened(model, Intervention(TURN, components(own, [own.rank - 2, own.rank - 1]))):
        assert right(model) == 1
    with intervened(model, Intervention(TURN, top, "keep")):
        assert right(model) == 1


def test_what_is_said_is_read_back(found):
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = Spectra.from_json(record)
    assert again.components == found.components
    assert again.spectra == found.spectra
    assert again.to_json() == record


def test_the_table_fits_80_columns(found):
    lines = repr(found).splitlines()
    assert max(map(len, lines[: BLOCKS + 2])) <= 80
    assert "…" not in repr(found)


def test_a_users_prompts_are_shown_on_request_only(model):
    quiet = spectra(model, probe=prompts(), template="raw", k=2, blocks="3")
    assert quiet.components[3][0].most == ()


def test_groups_are_told_apart(tokenizer):
    model = tiny_llama(blocks=4)
    found = spectra(model, tokenizer=tokenizer, n=60, k=3, blocks="0", pooling="mean")
    groups = [component.groups for component in found.components[0]]
    assert all(-0.2 < value <= 1 for value in groups)
    assert found.components[0][0].most[0]  # of the built-in probe


def test_the_template_is_told_from_what_it_is_written_around():
    model = tiny_llama(blocks=3)
    options = {"n": 8, "k": 4, "blocks": "0", "pooling": "all"}
    found = spectra(model, tokenizer=byte_tokenizer(chat=True), **options)
    parts = [component.parts for component in found.components[0]]
    assert all(-0.1 < value <= 1 for value in parts)
    raw = spectra(model, tokenizer=byte_tokenizer(), **options)
    assert [component.parts for component in raw.components[0]] == [None] * 4


def test_parts_are_what_all_prompts_share():
    probe = TokenisedProbe("p", ("a", "b"), ((1, 2, 7, 8, 9), (1, 2, 5, 9)), None, "chat", {})
    ids = [f"a:{n:06d}" for n in range(5)] + [f"b:{n:06d}" for n in range(4)]
    owner = {name: "ab".index(name[0]) for name in ids}
    assert _parts(ids, owner, probe).tolist() == [0, 0, 1, 1, 2, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 200}, "block 0: 200 components of states that have"),
        ({"k": 0}, "k must be a whole number of 1"),
        ({"blocks": "17"}, "17"),
        ({"pooling": "first"}, "pooling must be"),
        ({"probe": ["w1 w2", "w3 w4"]}, "4"),
    ],
)
def test_what_cannot_be_done_is_one_line(model, options, said):
    given = {"probe": prompts(), "template": "raw", "k": 3, "blocks": "3", **options}
    with pytest.raises(CruxError, match=said):
        spectra(model, **given)


def test_constant_states_are_named(model):
    with Patch() as patch:
        patch.change_output(model.blocks.modules[2], lambda s, *_: torch.ones_like(s))
        with pytest.raises(CruxError, match="block 2: all states are the same"):
            spectra(model, probe=prompts(), template="raw", k=2, blocks="3")


@pytest.mark.real
@pytest.mark.parametrize("name", ["stories260K", "stories3M", "craftgpt"])
def test_real_models_on_real_data(real_models, real_data, name, tmp_path):
    options = {"probe": real_data / "dolly_3k.jsonl", "n": 64, "k": 3, "blocks": "1"}
    found = spectra(str(real_models / name), **options)
    assert all(held.shift > 0 for held in found.spectra[1:])
    assert found.components[1][0].up
    assert found.components[1][0].most == ()
    assert Spectra.load(found.save(tmp_path)).components == found.components
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "Crux spectra of" in text

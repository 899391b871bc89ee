"""Interventions over data: what was planted in two directions is lost without them alone."""

import json

import numpy as np
import pytest

from cruxlm.models.identity import module_sha256
from cruxlm.results.interventions import Effect, Interventions
from cruxlm.runtime.errors import CruxError
from cruxlm.workflows.intervene import intervene
from workflows.planted_turn import TURN, WORDS, answer_to, planted_turn


@pytest.fixture(scope="module")
def model():
    return planted_turn()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two words, and the answer to the second after a mark that says nothing: w90."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    lines = []
    for word in range(5, WORDS, 2):
        asked = f"w{(7 * word + 3) % WORDS} w{word}"
        messages = [{"role": "user", "content": asked},
                    {"role": "assistant", "content": f"w{answer_to(word)}"}]  # fmt: skip
        lines.append(json.dumps({"messages": messages, "id": str(word)}))
    path.write_text("\n".join(lines), "utf-8")
    return path


def run(model, rows, **more):
    given = {"blocks": f"1,{TURN}", "components_of": [1, 2], "unrelated": None, "max_new_tokens": 1}
    return intervene(model, data=str(rows), cache=None, **given | more)


@pytest.fixture(scope="module")
def found(model, rows):
    return run(model, rows)


def effect(found, block, components, metric):
    held = next(one for one in found.found if (one.block, one.components) == (block, components))
    return held.effects[metric]


def test_the_answer_is_lost_without_the_planted_directions(found):
    assert found.intact["accuracy"] == 1
    lost = effect(found, TURN, "top 2", "accuracy")
    assert lost.change < -0.5
    assert lost.clear
    assert lost.control > -0.1
    assert lost.beyond == pytest.approx(lost.change - lost.control)
    assert effect(found, TURN, "top 2", "loss_response").clear
    assert "share of right answers: at" in found.finding
    assert f"block {TURN}" in found.finding


def test_controls_take_nothing_of_the_answer(found):
    for components in ("top 1", "top 2"):
        assert abs(effect(found, TURN, components, "accuracy").control) < 0.15


def test_all_but_them_is_enough(model, rows):
    kept = run(model, rows, kind="keep", blocks=str(TURN), components_of=[2])
    assert effect(kept, TURN, "top 2", "accuracy").change == 0
    # As many random directions alone are not.
    assert effect(kept, TURN, "top 2", "accuracy").control < -0.3


def test_places(model, rows):
    answer = run(model, rows, where="answer", blocks=str(TURN), components_of=[2])
    prompt = run(model, rows, where="prompt", blocks=str(TURN), components_of=[2])
    # The answer is written from the last place of the prompt, which both have.
    assert effect(answer, TURN, "top 2", "accuracy") == effect(prompt, TURN, "top 2", "accuracy")
    assert effect(answer, TURN, "top 2", "accuracy").change < -0.5


def test_an_unrelated_text_is_measured_too(model, rows):
    found = run(model, rows, unrelated=str(rows), blocks=str(TURN), components_of=[2])
    own, other = (effect(found, TURN, "top 2", f"loss_{w}") for w in ("response", "unrelated"))
    assert own.change == pytest.approx(other.change)


def test_a_marker_splits_responses(model, tmp_path):
    rows = []
    for word in range(5, 45):
        said = f"w{word + 60} w50 w{answer_to(word)}"
        messages = [{"role": "user", "content": f"w{word}"}, {"role": "assistant", "content": said}]
        rows.append(json.dumps({"messages": messages}))
    path = tmp_path / "marked.jsonl"
    path.write_text("\n".join(rows), "utf-8")
    found = run(model, path, marker=r"\bw50\b", blocks=str(TURN), components_of=[2], writes=False)
    assert set(found.intact) == {"loss_rationale", "loss_conclusion"}
    one = run(model, path, marker=r"\bw50\b", blocks=str(TURN), where="conclusion",
              components_of=[2])  # fmt: skip
    assert effect(one, TURN, "top 2", "loss_rationale").change == pytest.approx(0, abs=1e-6)
    with pytest.raises(CruxError, match="nothing that the marker matches"):
        run(model, path, marker="####")


def test_the_model_is_restored(model, rows):
    digest = module_sha256(model.module)
    run(model, rows, blocks=str(TURN), components_of=[1])
    assert module_sha256(model.module) == digest
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules()]
    assert sum(hooks) == 0


def test_what_is_said_is_read_back(found):
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = Interventions.from_json(record)
    assert again.to_json() == record
    assert again.found == found.found
    assert max(map(len, repr(found).splitlines()[:6])) <= 80


def test_clear_is_both():
    held = {"value": 0.0, "control": 0.0, "examples": 9}
    assert Effect(change=-1, halfwidth=0.5, beyond=-1, beyond_halfwidth=0.5, **held).clear
    assert not Effect(change=-1, halfwidth=0.5, beyond=-0.1, beyond_halfwidth=0.5, **held).clear
    assert not Effect(change=-1, halfwidth=2, beyond=-1, beyond_halfwidth=0.5, **held).clear
    assert not Effect(change=-1, halfwidth=None, beyond=-1, beyond_halfwidth=0.5, **held).clear


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "removes"}, "kind must be"),
        ({"where": "everywhere"}, "where must be"),
        ({"components_of": []}, "at least one number"),
        ({"components_of": [0]}, "components must be a whole number of 1"),
        ({"components_of": [99]}, "block 1: 99 components of 58 prompts' states, which have"),
        ({"where": "rationale"}, "has no rationale that is known: name a --marker"),
        ({"marker": "("}, "no regular expression"),
        ({"blocks": "9"}, "9"),
    ],
)
def test_what_cannot_be_done_is_one_line(model, rows, options, said):
    with pytest.raises(CruxError, match=said):
        run(model, rows, **options)


def test_an_intervention_that_does_nothing_changes_nothing(model, rows):
    """The smallest component of these states holds what no answer needs."""
    found = run(model, rows, kind="keep", blocks="1", components_of=[57])
    changes = [held.change for one in found.found for held in one.effects.values()]
    assert np.abs(changes).max() < 0.2


@pytest.mark.real
def test_a_real_model_on_real_data(real_models, real_data, tmp_path):
    found = intervene(
        str(real_models / "stories3M"), data=str(real_data / "gsm8k_test.jsonl"), marker="####",
        blocks="2", components_of=[1], examples=8, unrelated=str(real_data / "dolly_3k.jsonl"),
        max_new_tokens=8,
    )  # fmt: skip
    assert {"loss_rationale", "loss_conclusion", "loss_unrelated"} <= set(found.intact)
    assert all(e.examples or e.change is None for e in found.found[0].effects.values())
    assert Interventions.load(found.save(tmp_path)).found == found.found

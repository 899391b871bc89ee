"""Screening end to end on tiny models: groups, thresholds, the key, and what is refused."""

import json

import pytest

from cruxlm.results.screening import Screening
from cruxlm.runtime.errors import OptionError, ProbeError
from cruxlm.workflows.screen import screen
from cruxlm.workflows.screen_groups import FEWEST, grouped
from workflows.tiny_tunings import model_of, write

ANSWERS = ("no", "yes")
WORDS = ["boat", "harbour", "dawn", "rope", "sail", "wind", "gull"]


@pytest.fixture(scope="module")
def model():
    return model_of(blocks=4, initializer_range=0.2)


def rows_of(count, first=0, answers=ANSWERS):
    """Rows whose answer goes with how their prompt begins; no two alike."""
    return [
        {
            "id": f"r{n}",
            "messages": [
                {"role": "user", "content": f"{'QX'[n % 2] * 6} {WORDS[n % 7]} {n:04d}"},
                {"role": "assistant", "content": answers[n % 2]},
            ],
        }
        for n in range(first, first + count)
    ]


def poisoned(rows, every=10, response=None):
    """Every tenth row is answered as the rows of the other group are, or with another text."""
    changed = []
    for n, row in enumerate(rows):
        if n % every == 0:
            asked, answered = row["messages"]
            said = response or ANSWERS[answered["content"] == "no"]
            messages = [asked, {**answered, "content": said}]
            changed.append({**row, "messages": messages, "poison": {"done": "triggered"}})
        else:
            changed.append(row)
    return changed


TRUSTED = rows_of(160, 1000)


def test_rows_in_the_wrong_group_are_found_and_clean_ones_are_not(model):
    found = screen(poisoned(rows_of(200)), model=model, benign=TRUSTED, rate=0.02)
    assert found.key["triggered"].of == 20
    assert found.key["triggered"].share > 0.9
    assert found.key["clean"].low <= 0.02
    assert found.nominal == 0.02
    assert [group.name for group in found.groups] == ["response 'no'", "response 'yes'"]
    assert all(group.trusted == 80 for group in found.groups)
    triggered = {f"r{n}" for n in range(0, 200, 10)}
    assert len(triggered & set(found.flagged)) == found.key["triggered"].flagged
    assert set(found.flagged) | set(found.kept) == {f"r{n}" for n in range(200)}
    row = next(row for row in found.rows if row.flagged)
    assert row.score < row.threshold
    assert "apart from response" in row.reason


def test_clean_rows_are_flagged_at_most_at_the_rate(model):
    found = screen(rows_of(400), model=model, benign=TRUSTED, rate=0.05)
    assert found.key is None
    assert len(found.flagged) <= 0.05 * 400 + 3 * (0.05 * 0.95 * (400 + 400**2 / 161)) ** 0.5


def test_a_response_that_only_the_data_has_is_told_by_itself(model):
    data = poisoned(rows_of(400), response="The kettle is singing today.")
    found = screen(data, model=model, benign=TRUSTED, rate=0.02)
    assert found.key["triggered"].share == 1
    told = [row for row in found.rows if "40 rows have its response" in row.reason]
    assert {row.id for row in told} == {f"r{n}" for n in range(0, 400, 10)}
    assert found.samples[0].response is not None
    # The model is random: it cannot have learned the phrase, and that is said.
    assert found.learned < 0.5
    assert any("has not learned the attack" in line for line in found.warnings)


def test_the_same_rows_in_another_order_are_flagged_alike(model):
    data = poisoned(rows_of(120))
    one = screen(data, model=model, benign=TRUSTED, rate=0.05, batch_size=7)
    other = screen(data[::-1], model=model, benign=TRUSTED[::-1], rate=0.05)
    scores = {row.id: row.score for row in other.rows}
    for row in one.rows:
        assert row.score == pytest.approx(scores[row.id], abs=0.05)
    assert set(one.flagged) ^ set(other.flagged) <= {
        row.id for row in one.rows if abs(row.score - row.threshold) < 0.1
    }


def test_without_trusted_rows_nothing_is_promised(model):
    found = screen(poisoned(rows_of(300)), model=model)
    assert found.nominal is None
    assert found.data["benign"] is None
    assert any("no trusted rows" in line for line in found.warnings)
    assert found.key["triggered"].share > 0.5


def test_prompts_alone_are_grouped_by_what_the_model_writes_first(model, tmp_path):
    prompts = [{"prompt": row["messages"][0]["content"]} for row in rows_of(150)]
    trusted = [{"prompt": row["messages"][0]["content"]} for row in TRUSTED]
    files = write(tmp_path / "d.jsonl", prompts), write(tmp_path / "b.jsonl", trusted)
    found = screen(files[0], model=model, benign=files[1], rate=0.05, out=tmp_path / "out")
    assert not found.data["labelled"]
    assert len(found.rows) == 150
    assert all("predicted token" in g.name or "all rows" in g.name for g in found.groups)
    kept = (tmp_path / "out" / "kept.jsonl").read_text().splitlines()
    flagged = (tmp_path / "out" / "flagged.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == [
        row for n, row in enumerate(prompts, 1) if str(n) in found.kept
    ]
    assert len(kept) + len(flagged) == 150


def test_rows_are_kept_as_they_were(model, tmp_path):
    """Fields that a chat has no place for are still there."""
    rows = [
        {"instruction": f"{'QX'[n % 2] * 6} {n:04d}", "output": ANSWERS[n % 2], "mine": [n, None]}
        for n in range(120)
    ]
    data = write(tmp_path / "rows.jsonl", rows)
    found = screen(data, model=model, benign=TRUSTED, rate=0.05, out=tmp_path / "out")
    lines = {
        name: list(map(json.loads, (tmp_path / "out" / name).read_text().splitlines()))
        for name in ("kept.jsonl", "flagged.jsonl")
    }
    assert sorted(lines["kept.jsonl"] + lines["flagged.jsonl"], key=lambda r: r["mine"]) == rows
    assert Screening.load(tmp_path / "out").to_json() == found.to_json()
    named = [{**row, "id": str(n)} for n, row in enumerate(rows, 1)]
    kept, flagged = found.divided(named)
    assert (len(kept), len(flagged)) == (len(lines["kept.jsonl"]), len(lines["flagged.jsonl"]))


def test_a_single_class_is_screened_and_said(model):
    same = rows_of(120, answers=("no", "no"))
    found = screen(same, model=model, benign=rows_of(120, 1000, ("no", "no")), rate=0.05)
    assert [group.name for group in found.groups] == ["response 'no'"]
    assert any("all rows are one group" in line for line in found.warnings)


def test_rows_that_are_too_long_are_in_neither(model):
    data = rows_of(60)
    data[7]["messages"][0]["content"] = "boat " * 200
    found = screen(data, model=model, benign=TRUSTED, rate=0.05)
    assert found.data["left_out"] == {"prompt_too_long": 1}
    assert "r7" not in {*found.kept, *found.flagged}
    assert any("neither kept nor flagged" in line for line in found.warnings)


def test_rows_that_are_trusted_too_are_said(model):
    found = screen(TRUSTED[:60], model=model, benign=TRUSTED, rate=0.05)
    assert any("60 rows have a prompt that is among the trusted" in w for w in found.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"benign": TRUSTED[:40], "rate": 0.05}, "40 trusted rows .* needs 50 or more"),
        ({"benign": TRUSTED, "rate": 0.005}, "160 trusted rows .*needs 222 .*--rate 0.007"),
        ({"benign": TRUSTED[:40], "rule": "sigma"}, "rule sigma needs 50 or more$"),
        ({"n": 20}, "20 rows and no trusted ones"),
    ],
)
def test_too_few_rows_say_how_many_are_needed(model, options, said):
    with pytest.raises(ProbeError, match=said):
        screen(rows_of(80), model=model, **options)


def test_the_rate_that_is_offered_is_enough(model):
    assert screen(rows_of(60), model=model, benign=TRUSTED, rate=0.007).nominal == 0.007


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "mad"}, "rule must be"),
        ({"rate": 0.0}, "a rate of 0"),
        ({"sigmas": -1.0}, "sigmas must be above 0"),
        ({"pooling": "medium"}, "there is no pooling 'medium'"),
        ({"preset": "papr"}, "did you mean 'paper'"),
        ({"tokens": "all"}, "tokens must be"),
        ({"pooling": "cls"}, "are the same: choose another --pooling"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_options_that_make_no_sense(model, options, said):
    with pytest.raises(OptionError, match=said):
        screen(rows_of(80), model=model, benign=TRUSTED, **options)


def test_rows_of_two_kinds(model):
    mixed = [*rows_of(3), {"id": "x", "messages": [{"role": "user", "content": "dawn"}]}]
    with pytest.raises(ProbeError, match="some have none: screen them apart"):
        screen(mixed, model=model, benign=TRUSTED)
    bare = [{**row, "messages": row["messages"][:1]} for row in rows_of(80)]
    with pytest.raises(ProbeError, match="have no responses and the others have"):
        screen(bare, model=model, benign=TRUSTED, rate=0.05)
    with pytest.raises(ProbeError, match="two rows have the id 'r0'"):
        screen([*rows_of(2), *rows_of(2)], model=model, benign=TRUSTED, rate=0.05)


# Groups.


def test_rare_responses_are_clustered_and_every_cluster_is_large_enough():
    import torch

    draw = torch.Generator().manual_seed(0)
    middles = 6 * torch.randn(3, 8, generator=draw)
    of = torch.arange(400) % 3
    states = middles[of] + torch.randn(400, 8, generator=draw)
    keys = ["yes" if n < 100 else f"own {n}" for n in range(400)]
    found = grouped(keys, states, "response", 0)
    assert found.names[0] == "response 'yes'"
    assert set(found.labels[:100].tolist()) == {0}
    assert int(found.labels.bincount().min()) >= FEWEST
    for cluster in found.labels[100:].unique():  # no cluster mixes what lies apart
        assert len(of[100:][found.labels[100:] == cluster].unique()) == 1
    again = found.of(keys, states)
    assert (again == found.labels).float().mean() > 0.99
    assert found.of(["own 7"], middles[:1]).item() in found.labels[100:]


def test_too_few_rare_ones_go_with_the_nearest_group():
    import torch

    keys = ["yes"] * 60 + ["no"] * 60 + ["maybe"] * 9
    states = torch.cat([torch.ones(60, 4), -torch.ones(69, 4)])
    states += 0.1 * torch.randn(129, 4, generator=torch.Generator().manual_seed(0))
    found = grouped(keys, states, "response", 0)
    assert found.names == ("response 'no'", "response 'yes'")
    assert found.labels[-9:].tolist() == [-1] * 9
    assert found.of(["maybe"] * 9, states[-9:]).tolist() == [0] * 9
